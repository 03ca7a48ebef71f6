from ich.config.read import validate
from ich.models.build import build
from ich.training.best import save
from ich.training.finished import FinishedStages
from ich.training.phases import stages
from ich.workspace import Workspace
from square_slices import tiny_backbones, write_squares

__all__ = ["tiny_backbones"]

DEMO = {"efficientnet": "EfficientNetV2Demo", "convnext": "ConvNeXtDemo"}


def experiment(root, **settings):
    plan = {"backbones": DEMO, "weights": "none", "heads": {"gate_units": 8, "subtype_units": 8}} | settings
    data = {"labels": str(root / "labels.csv"), "dicom": str(root)}
    return validate({"workspace": str(root), "data": data, "preprocess": {"size": 64}, "train": plan}, "test")


def test_stages_of_another_training_are_not_continued(tiny_backbones, tmp_path):
    write_squares(tmp_path, train=40, val=20)
    config = experiment(tmp_path)
    networks = build(config.train, 64, seed=1)
    workspace, stage = Workspace(config), stages(config.train)[0]
    save(networks.gate, workspace.models / "stage1_best.keras")
    FinishedStages(workspace, "float32").add(stage, {"epochs": 3}, networks.final)

    def believed(other=config, precision="float32"):
        return set(FinishedStages(Workspace(other), precision).results)

    assert believed() == {"gate"}
    assert believed(precision="mixed_bfloat16") == set()
    assert believed(experiment(tmp_path, batch_size=8)) == set()
    assert believed(experiment(tmp_path, gate={"threshold": 0.2})) == {"gate"}  # of no weight
    table = workspace.table("train")
    before = table.read_text()
    table.write_text("\n".join(before.splitlines()[:-1]) + "\n")
    assert believed() == set()
    table.write_text(before)
    assert believed() == {"gate"}
    (workspace.models / "stage1_best.keras").write_bytes(b"damaged")
    assert believed() == set()


def test_another_weight_file_is_another_training(tiny_backbones, tmp_path):
    write_squares(tmp_path, train=40, val=20)
    config = experiment(tmp_path, model="convnext", weights=str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    keys = []
    for content in (b"one", b"two", b"one"):
        (tmp_path / "weights" / "convnext_best.h5").write_bytes(content)  # a model of the same size
        keys.append(FinishedStages(Workspace(config), "float32").key)
    assert keys[0] == keys[2] != keys[1]
