import hashlib
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from ich.config import Augment, Experiment
from ich.errors import DataError
from ich.labels import IMAGE_ID, LABELS, is_augmented, original_id, read_table
from ich.prepare import augment as step
from ich.prepare.augment import augment, choose_copies
from ich.workspace import Workspace

SIZE = 32


def labels_of(rows: list[tuple[str, ...]]) -> pl.DataFrame:
    """A row for each tuple of positive subtypes."""
    names = {IMAGE_ID: [f"ID_{i:09x}" for i in range(len(rows))], "any": [int(bool(row)) for row in rows]}
    values = names | {label: [int(label in row) for row in rows] for label in LABELS[1:]}
    return pl.DataFrame(values, schema={IMAGE_ID: pl.String} | dict.fromkeys(LABELS, pl.UInt8))


ROWS = [("epidural",), ("epidural", "subdural"), ("subdural",), ("subdural",), *[()] * 4]


@pytest.fixture
def config(tmp_path: Path) -> Experiment:
    """A workspace after `split`: eight training images that are links, one of validation."""
    config = Experiment(
        workspace=tmp_path,
        data={"labels": tmp_path / "labels.csv", "dicom": tmp_path},
        preprocess={"size": SIZE},
        steps=["index", "split", "sample", "copy", "preprocess", "augment"],
        augment={"target": 5, "labels": ["epidural", "subdural"]},
    )
    workspace, table = Workspace(config), labels_of(ROWS)
    table.write_csv(workspace.table("train"))
    table.head(1).write_csv(workspace.table("val"))
    for folder in (workspace.png, workspace.images("train"), workspace.images("val")):
        folder.mkdir()
    generator = np.random.default_rng(0)
    for name in table[IMAGE_ID]:
        cv2.imwrite(workspace.png / f"{name}.png", generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
        (workspace.images("train") / f"{name}.png").symlink_to(Path("..") / workspace.png.name / f"{name}.png")
    return config


def change(config: Experiment, **augment_keys) -> Experiment:
    return config.model_copy(update={"augment": config.augment.model_copy(update=augment_keys)})


def snapshot(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file in a folder, hidden ones too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_reference_counts_epidural_2500_to_8000():
    """The notebooks' training split: 44,237 rows, of which 2,500 epidural; the other labels are above 8,000."""
    generator = np.random.default_rng(0)
    values = {label: (generator.permutation(44_237) < n).astype(np.uint8) for label, n in zip(
        LABELS, (36_238, 2_500, 14_100, 11_650, 13_600, 14_260), strict=True
    )}  # fmt: skip
    natural = pl.DataFrame({IMAGE_ID: [f"ID_{i:09x}" for i in range(44_237)]} | values)
    copies = choose_copies(natural, Augment(target=8_000), seed=42)
    assert len(natural) + len(copies) == 49_737
    assert copies["epidural"].sum() == 5_500
    assert copies[IMAGE_ID].is_unique().all()
    # Drawn with replacement: 2,500 (1 - (1 - 1/2500) ** 5500) = 2,223 different originals are expected.
    assert len({original_id(name) for name in copies[IMAGE_ID]}) == pytest.approx(2_223, abs=60)


def test_each_label_reaches_its_target_and_copies_keep_all_labels(config):
    outcome = augment(config)
    table = read_table(Workspace(config).table("train"))
    copies = table.filter(table[IMAGE_ID].str.contains("_aug_"))
    assert table[IMAGE_ID].is_sorted()
    assert table["epidural"].sum() == 5  # 2 and 3 copies
    assert table["subdural"].sum() == max(5, 3 + copies.filter(pl.col("epidural") == 1)["subdural"].sum())
    by_name = {row[0]: row[1:] for row in labels_of(ROWS).iter_rows()}
    assert all(row[1:] == by_name[original_id(row[0])] for row in copies.iter_rows())
    written = {path.stem for path in Workspace(config).images("train").iterdir() if is_augmented(path.stem)}
    assert written == set(copies[IMAGE_ID])
    assert outcome.counts["augmented images written"] == len(copies)
    assert outcome.counts["positives before"]["epidural"] == 2
    assert outcome.counts["positives after"]["epidural"] == 5
    assert "epidural 25.0 -> " in outcome.notes[0]


def test_copies_for_an_earlier_label_count_for_a_later_one():
    natural = labels_of([("epidural", "subdural"), ()])
    copies = choose_copies(natural, Augment(target=4, labels=("epidural", "subdural")), seed=1)
    assert copies[IMAGE_ID].to_list() == [f"ID_000000000_aug_{index}" for index in range(3)]  # none more for subdural


def test_natural_images_validation_and_test_stay_as_they_are(config):
    workspace = Workspace(config)
    before = snapshot(config.workspace)
    augment(config)
    after = snapshot(config.workspace)
    assert {path: after[path] for path in before if path != "data_train.csv"} == {
        path: digest for path, digest in before.items() if path != "data_train.csv"
    }
    new = [path for path in after.keys() - before.keys() if not path.startswith("parts/augment/")]
    assert all("_aug_" in path and path.startswith("data_train/") for path in new)
    copy = next(path for path in workspace.images("train").iterdir() if is_augmented(path.stem))
    assert not copy.is_symlink()
    assert cv2.imread(str(copy)).shape == (SIZE, SIZE, 3)


def test_colours_stay_in_their_channels(config):
    colour = np.zeros((SIZE, SIZE, 3), np.uint8)
    colour[:] = (10, 100, 200)
    for path in Workspace(config).png.iterdir():
        cv2.imwrite(path, colour)
    augment(config)
    for path in Workspace(config).images("train").glob("*_aug_*.png"):
        blue, green, red = cv2.imread(str(path))[SIZE // 2, SIZE // 2]
        assert blue < green < red


def test_images_that_are_gone_or_of_which_the_original_changed_are_made_again_and_no_others(config, monkeypatch):
    monkeypatch.setattr(step, "CHUNK", 2)
    config = change(config, target=9)
    folder = Workspace(config).images("train")

    def made():
        return {path: path.stat().st_mtime_ns for path in sorted(folder.glob("*_aug_*.png"))}

    augment(config)
    first = made()
    min(first).unlink()
    augment(config)
    second = made()
    assert sum(second[path] != first[path] for path in first) == 2  # a chunk
    original = folder / f"{original_id(min(first).stem)}.png"
    cv2.imwrite(original.resolve(), np.zeros((SIZE, SIZE, 3), np.uint8))
    augment(config)
    third = made()
    copies = {path for path in first if original_id(path.stem) == original.stem}
    assert all(third[path] != second[path] for path in copies)
    assert any(third[path] == second[path] for path in first)


def test_again_gives_the_same_bytes_and_another_seed_other_ones(config):
    augment(config)
    first = snapshot(config.workspace)
    augment(config)
    assert snapshot(config.workspace) == first
    augment(config.model_copy(update={"seed": 43}))
    assert snapshot(config.workspace) != first
    augment(config)
    assert snapshot(config.workspace) == first


def test_a_killed_run_leaves_a_believable_training_set_and_is_finished_by_the_next(config, monkeypatch):
    augment(config)
    finished = snapshot(config.workspace)
    augment(change(config, target=9))  # an earlier run, whose rows and files must go
    write, written = step.write_bytes, []

    def killed(path: Path, content: bytes) -> None:
        if len(written) == 2:
            path.with_name(f".{path.name}.99").write_bytes(b"half a file")
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(step, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            augment(config)
    table = read_table(Workspace(config).table("train"))
    assert not any(is_augmented(name) for name in table[IMAGE_ID])
    augment(config)
    assert snapshot(config.workspace) == finished


def test_an_images_copy_does_not_depend_on_the_others(config, monkeypatch):
    augment(config)
    whole = snapshot(Workspace(config).images("train"))
    monkeypatch.setattr(step, "BATCH", 2)
    augment(config)
    assert snapshot(Workspace(config).images("train")) == whole


def test_target_zero_takes_earlier_copies_back(config):
    natural = snapshot(config.workspace)
    augment(config)
    outcome = augment(change(config, target=0))
    assert snapshot(config.workspace) == natural
    assert outcome.counts["augmented images written"] == 0
    assert outcome.counts["positives before"] == outcome.counts["positives after"]
    assert outcome.notes == []


def test_a_label_without_positives_is_a_note(config):
    outcome = augment(change(config, labels=("intraventricular", "epidural")))
    assert outcome.counts["positives after"]["epidural"] == 5
    assert outcome.notes[0] == "no training slice is positive for intraventricular, so none can be copied"
    assert not outcome.incomplete


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is not a whole PNG file"),
        (lambda path: path.write_bytes(b""), "is not a whole PNG file"),
        (
            lambda path: cv2.imwrite(path, np.zeros((16, 16, 3), np.uint8)),
            r"must have 32 x 32 pixels \(preprocess.size\), got 16 x 16",
        ),
    ],
)
def test_a_bad_original_is_named(config, fault, message):
    for row in range(2):
        fault(Workspace(config).png / f"ID_{row:09x}.png")
    with pytest.raises(DataError, match=rf"ID_00000000.\.png .*{message}"):
        augment(config)


def test_a_missing_training_set_is_an_error(config):
    Workspace(config).images("train").rename(config.workspace / "elsewhere")
    with pytest.raises(DataError, match="data_train does not exist"):
        augment(config)
    Workspace(config).table("train").unlink()
    with pytest.raises(DataError, match=r"data_train\.csv does not exist"):
        augment(config)
