"""Whole trainings of tiny networks on a toy problem that is learnt in seconds."""

import csv
import json

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from ich.card import read_card
from ich.config import Gate
from ich.config.read import validate
from ich.data import read_manifest
from ich.detector import load_detector
from ich.errors import DataError, IchError
from ich.labels import LABELS, SUBTYPES
from ich.models.build import build
from ich.png import read_png
from ich.training import fit
from ich.training.checkpoint import Checkpoints
from ich.training.fit import fit_stage
from ich.training.gating import conditional_prevalence
from ich.training.phases import Stage, stages
from ich.training.train import train
from ich.training.validation import Validation
from ich.training.watch import History
from ich.workspace import Workspace
from square_slices import ALL, load, squares_experiment, tiny_backbones, write_squares

__all__ = ["tiny_backbones"]


def history_of(config):
    return list(csv.DictReader((Workspace(config).run / "history.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def cascade(tiny_backbones, tmp_path_factory):
    """A cascade trained with both stages and end to end; config and outcome."""
    root = tmp_path_factory.mktemp("cascade")
    write_squares(root, train=160, val=40)
    config = squares_experiment(
        root, end_to_end={"epochs": 1, "learning_rate": 1e-5}, augmentation={"horizontal_flip": 0, "shift": 0}
    )
    return config, train(config)


def test_a_cascade_learns_and_its_parts_are_saved(cascade):
    config, outcome = cascade
    workspace = Workspace(config)
    stages_best = {f"{name}_best.keras" for name in ("stage1", "stage2", "end_to_end")}
    names = {"cascade_final.keras", "cascade_final.json"} | stages_best
    assert {path.name for path in workspace.models.iterdir()} == names
    assert {path.name for path in outcome.outputs} == names | {"history.csv"}
    assert all(path.exists() for path in outcome.outputs)
    val = read_manifest(workspace.table("val"), workspace.images("val"))
    predicted = load_detector(workspace.models / "cascade_final.keras").predict_files(val)
    assert roc_auc_score(val.labels, predicted.probabilities, average="macro") > 0.95


def test_history_has_a_row_an_epoch_in_order(cascade):
    config, _ = cascade
    rows = history_of(config)
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        *(("gate", str(epoch)) for epoch in range(1, 6)),
        *(("subtypes", str(epoch)) for epoch in range(1, 6)),
        ("end-to-end", "1"),
    ]
    assert {float(row["learning_rate"]) for row in rows} == {5e-3, 1e-5}
    assert all(float(row["images_per_s"]) > 0 and 0 <= float(row["val_auc"]) <= 1 for row in rows)


def test_the_card_says_what_prediction_needs(cascade):
    config, _ = cascade
    card = read_card(Workspace(config).models / "cascade_final.keras")
    assert (card.model, card.labels, card.size, card.aspect) == ("cascade", LABELS, 64, "pad")
    assert card.windows == ((75, 215), (40, 80), (600, 2800))
    assert card.conditional_prevalence == pytest.approx(dict.fromkeys(SUBTYPES, 0.2))
    assert 0 < card.gate.threshold <= 0.5
    assert card.gate.positives["any"] == 20
    assert set(card.gate.missed.values()) == {0}
    trained = card.training["stages"]
    assert [(name, stage["slices"]) for name, stage in trained.items()] == [
        ("gate", 160),
        ("subtypes", 80),
        ("end-to-end", 160),
    ]
    epidural = {"positives": 16, "slices": 80, "prevalence": 0.2, "prevalence_seen": 0.2, "effective_prior": 0.5}
    assert trained["subtypes"]["priors"]["epidural"] == pytest.approx(epidural)  # its class weights are balanced
    assert trained["end-to-end"]["priors"]["epidural"]["effective_prior"] == pytest.approx(0.1)
    assert card.config["train"]["model"] == "cascade"


def test_the_best_loss_of_the_card_is_the_lowest_of_the_history(cascade):
    config, _ = cascade
    trained = read_card(Workspace(config).models / "cascade_final.keras").training["stages"]
    for stage in ("gate", "subtypes"):
        lowest = min(float(row["val_loss"]) for row in history_of(config) if row["stage"] == stage)
        assert trained[stage]["val_loss"] == pytest.approx(lowest, rel=1e-5)


def test_the_run_keeps_its_config(cascade):
    config, _ = cascade
    kept = json.loads((Workspace(config).run / "config.json").read_text())
    assert validate(kept, "config.json") == config


@pytest.fixture(scope="module")
def flat(tiny_backbones, tmp_path_factory):
    """A flat model: a good phase of all layers, then one of the heads that ruins it."""
    root = tmp_path_factory.mktemp("flat")
    write_squares(root, train=80, val=40)
    ruin = {"name": "ruin", "epochs": 2, "learning_rate": 1, "trainable": "heads"}
    config = squares_experiment(
        root, model="convnext", phases=[ALL | {"epochs": 2}, ruin], save_h5=True, accumulation=2
    )
    train(config)
    return config


def test_a_later_phase_that_is_worse_changes_nothing(flat):
    losses = [float(row["val_loss"]) for row in history_of(flat)]
    assert min(losses[2:]) > min(losses[:2])
    models = Workspace(flat).models
    assert read_card(models / "convnext_final.keras").training["stages"]["convnext"]["val_loss"] == pytest.approx(
        min(losses), rel=1e-5
    )
    best, final = (load(models / f"convnext_{name}.keras") for name in ("best", "final"))
    assert all(np.array_equal(a, b) for a, b in zip(best.get_weights(), final.get_weights(), strict=True))


def test_h5_files_hold_the_same_weights(flat):
    models = Workspace(flat).models
    assert {path.name for path in models.iterdir()} == {
        *(f"convnext_{name}{ending}" for name in ("best", "final") for ending in (".keras", ".h5")),
        "convnext_final.json",
    }
    ours, theirs = (load(models / f"convnext_final{ending}") for ending in (".keras", ".h5"))
    assert all(np.array_equal(a, b) for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True))


def test_a_flat_model_has_no_gate(flat):
    card = read_card(Workspace(flat).models / "convnext_final.keras")
    assert card.gate is None
    assert [row["phase"] for row in history_of(flat)] == ["all-layers"] * 2 + ["ruin"] * 2


def test_the_same_seed_gives_the_same_weights_and_a_new_history(flat):
    final = Workspace(flat).models / "convnext_final.keras"
    before = load(final).get_weights()
    final.unlink()
    train(flat)
    assert all(np.array_equal(a, b) for a, b in zip(before, load(final).get_weights(), strict=True))
    assert len(history_of(flat)) == 4


def test_stage_2_of_a_shared_trunk_leaves_the_gate_as_it_was(tiny_backbones, tmp_path):
    write_squares(tmp_path, train=80, val=40)
    config = squares_experiment(tmp_path, model="modified-cascade", phases=[ALL | {"epochs": 1}])
    workspace = Workspace(config)
    networks = build(config.train, 64, seed=1)
    slices = (read_manifest(workspace.table(split), workspace.images(split)) for split in ("train", "val"))
    history, checkpoints = History(tmp_path / "history.csv"), Checkpoints(tmp_path / "checkpoints", "key", print)
    run = fit.Run(config, networks, *slices, history, checkpoints, fit.Console(quiet=True))
    second = stages(config.train)[1]
    before = networks.gate.get_weights()
    head = networks.subtypes.get_layer("subtype_head").get_weights()
    fit_stage(run, second)
    assert all(np.array_equal(a, b) for a, b in zip(before, networks.gate.get_weights(), strict=True))
    assert not any(
        np.array_equal(a, b)
        for a, b in zip(head, networks.subtypes.get_layer("subtype_head").get_weights(), strict=True)
    )


def test_a_diverging_training_stops_and_leaves_the_earlier_model(tiny_backbones, tmp_path, monkeypatch):
    write_squares(tmp_path, train=40, val=20)
    config = squares_experiment(tmp_path, model="efficientnet", phases=[ALL | {"epochs": 1, "name": "diverges"}])
    models = Workspace(config).models
    models.mkdir()
    earlier = {"efficientnet_final.keras", "efficientnet_final.json"}
    for name in earlier:
        (models / name).write_text("from an earlier run")
    monkeypatch.setattr(Stage, "training_loss", lambda *_: lambda y, p: keras.ops.mean(p, axis=-1) * float("nan"))
    told = "efficientnet, diverges: the training loss became nan in step 1 of epoch 1, of 16 images"
    with pytest.raises(IchError, match=told):
        train(config)
    named = json.loads((Workspace(config).run / "not_finite.json").read_text())
    assert (named["step"], len(set(named["images"])), named["images_of_the_step_before"]) == (1, 16, [])
    assert all(name.startswith("ID_train") for name in named["images"])
    assert {path.name: path.read_text() for path in models.iterdir()} == dict.fromkeys(earlier, "from an earlier run")


def test_without_positives_the_error_names_the_stage_and_the_split(tiny_backbones, tmp_path):
    write_squares(tmp_path, train=40, val=1)
    with pytest.raises(DataError, match="gate: the validation slices hold no positive of any"):
        train(squares_experiment(tmp_path))


def test_a_damaged_image_stops_training_by_name(tiny_backbones, tmp_path):
    write_squares(tmp_path, train=40, val=20)
    (tmp_path / "data_train" / "ID_train0007.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"ID_train0007\.png is not a whole PNG"):
        train(squares_experiment(tmp_path, model="efficientnet"))


def test_conditional_prevalence_by_hand():
    counts = {
        "any": 40,
        "epidural": 2,
        "intraparenchymal": 10,
        "intraventricular": 8,
        "subarachnoid": 12,
        "subdural": 20,
    }
    assert conditional_prevalence({"splits": {"train": {"counts": counts}}}) == {
        "epidural": 0.05,
        "intraparenchymal": 0.25,
        "intraventricular": 0.2,
        "subarachnoid": 0.3,
        "subdural": 0.5,
    }


@pytest.mark.parametrize(
    "content", [{}, {"splits": {"train": {}}}, {"splits": {"train": {"counts": dict.fromkeys(LABELS, 0)}}}]
)
def test_splits_without_positives_are_an_error(content):
    with pytest.raises(DataError, match=r"splits\.json|no slice with haemorrhage"):
        conditional_prevalence(content)


def weights_of(config):
    return load(Workspace(config).final_model).get_weights()


def test_a_training_that_was_cut_off_continues_with_its_stage_to_the_same_weights(
    tiny_backbones, tmp_path, monkeypatch
):
    """Cut off in stage 2: stage 1 is not trained again, and the dropout of what follows draws as it would have."""
    configs = []
    for name in ("whole", "cut"):
        write_squares(tmp_path / name, train=80, val=40)
        plan = {"phases": [ALL | {"epochs": 2}], "end_to_end": {"epochs": 1, "learning_rate": 1e-4}}
        configs.append(squares_experiment(tmp_path / name, model="modified-cascade", **plan))
    whole, cut = configs
    train(whole)

    offer = fit.Best.offer

    def interrupted(best, loss):
        offer(best, loss)
        if best.path.stem == "stage2_best":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit.Best, "offer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(cut)
    assert not Workspace(cut).final_model.exists()
    trained = []
    monkeypatch.setattr(fit, "fit_stage", lambda run, stage: trained.append(stage.name) or fit_stage(run, stage))
    train(cut)
    assert trained == ["subtypes", "end-to-end"]
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(whole), weights_of(cut), strict=True))
    columns = ("stage", "phase", "epoch", "learning_rate", "loss", "val_loss", "val_auc")
    rows, expected = ([[row[c] for c in columns] for row in history_of(config)] for config in (cut, whole))
    assert rows == expected

    trained.clear()  # a finished training that is asked for again is there already, as long as nothing of it is lost
    train(cut)
    assert trained == []
    (Workspace(cut).models / "stage1_best.keras").unlink()
    train(cut)
    assert trained == ["gate", "subtypes", "end-to-end"]


def test_another_rule_for_the_gate_trains_nothing_again(cascade, monkeypatch):
    config, _ = cascade
    before, rows = read_card(Workspace(config).final_model), history_of(config)
    rule = config.train.model_copy(update={"gate": Gate(threshold=0.25)})
    monkeypatch.setattr(fit, "fit_stage", pytest.fail)
    train(config.model_copy(update={"train": rule}))
    card = read_card(Workspace(config).final_model)
    assert (card.gate.threshold, card.file_sha256, card.training) == (0.25, before.file_sha256, before.training)
    assert history_of(config) == rows
    events = Workspace(config).run / "tensorboard"
    assert {path.name for path in events.iterdir()} == {"gate", "subtypes", "end-to-end"}


def test_a_validation_loss_that_stands_still_lowers_the_rate_and_ends_the_phase(tiny_backbones, tmp_path, monkeypatch):
    write_squares(tmp_path, train=40, val=20)
    config = squares_experiment(
        tmp_path, model="efficientnet", phases=[ALL | {"epochs": 9}], early_stopping={"patience": 4},
        plateau={"factor": 0.5, "patience": 2, "min_learning_rate": 2e-3},
    )  # fmt: skip
    monkeypatch.setattr(Validation, "loss", lambda *_: 0.5)
    train(config)
    rates = [float(row["learning_rate"]) for row in history_of(config)]
    assert rates == pytest.approx([5e-3, 5e-3, 5e-3, 2.5e-3, 2.5e-3])  # the best is the first, four more find none


def test_the_validation_loss_is_the_mean_of_the_labels_log_losses(flat):
    workspace = Workspace(flat)
    val = read_manifest(workspace.table("val"), workspace.images("val"))
    images = np.stack([read_png(path) for path in val.paths])
    probabilities = load(workspace.final_model).predict(images, verbose=0)
    losses = [log_loss(truth, p, labels=[0, 1]) for truth, p in zip(val.labels.T, probabilities.T, strict=True)]
    assert min(float(row["val_loss"]) for row in history_of(flat)) == pytest.approx(np.mean(losses), rel=1e-4)


def test_every_phase_goes_on_with_the_seed_and_the_epoch(tiny_backbones, tmp_path, monkeypatch):
    write_squares(tmp_path, train=40, val=20)
    config = squares_experiment(
        tmp_path, model="convnext", phases=[ALL | {"epochs": 2}, ALL | {"epochs": 1}], accumulation=2
    )
    asked, batches = [], fit.training_batches
    monkeypatch.setattr(fit, "training_batches", lambda *a, **k: asked.append(a[-4:]) or batches(*a, **k))
    train(config)
    assert [(shape, seed, epoch) for shape, _, seed, epoch in asked] == [
        ((2, 16), config.seed, 0),
        ((2, 16), config.seed, 2),
    ]


def test_end_to_end_keeps_its_start_where_training_makes_it_worse(tiny_backbones, tmp_path):
    write_squares(tmp_path, train=40, val=20)
    config = squares_experiment(
        tmp_path, phases=[ALL | {"epochs": 1}], end_to_end={"epochs": 1, "learning_rate": 1.0}, stage2_start="gate"
    )
    train(config)
    models = Workspace(config).models
    final = load(models / "cascade_final.keras")
    for name, trunk in (("stage1_best", "gate_efficientnet"), ("stage2_best", "efficientnet")):
        kept, ended = (network.get_layer(trunk).get_weights() for network in (load(models / f"{name}.keras"), final))
        assert all(np.array_equal(a, b) for a, b in zip(kept, ended, strict=True))


@pytest.mark.parametrize("start", ["weights", "gate"])
def test_stage_2_starts_from_the_gates_trunk_if_asked_to(tiny_backbones, tmp_path, monkeypatch, start):
    write_squares(tmp_path, train=40, val=20)
    config = squares_experiment(tmp_path, phases=[ALL | {"epochs": 1}], stage2_start=start)
    same = {}

    def look(run, stage):
        trunks = (run.networks.gate.get_layer("gate_efficientnet"), run.networks.subtypes.get_layer("efficientnet"))
        gate, subtypes = (trunk.get_weights() for trunk in trunks)
        same[stage.name] = all(np.array_equal(a, b) for a, b in zip(gate, subtypes, strict=True))
        return fit_stage(run, stage)

    monkeypatch.setattr(fit, "fit_stage", look)
    train(config)
    assert same == {"gate": False, "subtypes": start == "gate"}


def test_a_model_is_not_kept_beside_what_another_training_left(tiny_backbones, tmp_path, monkeypatch):
    write_squares(tmp_path, train=40, val=20)
    (tmp_path / "models" / ".ipynb_checkpoints").mkdir(parents=True)  # Jupyter's; not ours to remove

    def config(epochs, name="a"):
        plan = {"model": "efficientnet", "phases": [ALL | {"epochs": epochs}]}
        return squares_experiment(tmp_path, **plan).model_copy(update={"name": name})

    def files():
        rows = [[row[c] for c in ("stage", "phase", "epoch", "loss")] for row in history_of(config(2))]
        return load(tmp_path / "models" / "efficientnet_best.keras").get_weights(), rows

    train(config(2))
    weights, rows = files()
    offer = fit.Best.offer

    def cut_off(best, loss):
        offer(best, loss)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit.Best, "offer", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(config(1))  # when it has written its checkpoint
    train(config(2))
    again, rows_again = files()
    assert rows_again == rows
    assert all(np.array_equal(a, b) for a, b in zip(weights, again, strict=True))
    train(config(2, name="b"))
    assert (tmp_path / "runs" / "b" / "history.csv").exists()
    assert (tmp_path / "models" / ".ipynb_checkpoints").is_dir()
