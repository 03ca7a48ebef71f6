import json

import numpy as np
import pytest

from ich.training.checkpoint import Checkpoint, Checkpoints, Progress


def checkpoint(epoch, stage="gate", best=0.5):
    progress = Progress(stage, 1, epoch, {"epochs": epoch}, [{"epoch": i + 1} for i in range(epoch)], best)
    variables = [np.full((2, 3), epoch, np.float32), np.array(epoch, np.int32), np.array([1, 2], np.uint32)]
    return Checkpoint(progress, variables, [np.full(4, best, np.float32)])


def same(a, b):
    arrays = zip(a.variables + a.best, b.variables + b.best, strict=True)
    return a.progress == b.progress and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in arrays)


@pytest.fixture
def told():
    return []


@pytest.fixture
def checkpoints(tmp_path, told):
    return Checkpoints(tmp_path / "checkpoints", "key", told.append)


def test_the_newest_comes_back_as_it_was_and_the_one_before_is_kept(checkpoints):
    for epoch in range(8, 12):
        checkpoints.write(checkpoint(epoch))
    assert same(checkpoints.newest("gate"), checkpoint(11))
    assert {path.name for path in checkpoints.folder.iterdir()} == {"10.json", "10.npz", "11.json", "11.npz"}


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("damage", ["cut off", "a bit", "gone", "empty"])
def test_a_damaged_one_is_noticed_and_the_one_before_is_used(checkpoints, told, suffix, damage):
    for epoch in (9, 10):
        checkpoints.write(checkpoint(epoch))
    path = checkpoints.folder / f"10{suffix}"
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "a bit" and suffix == ".json":
        path.write_bytes(content.replace(b"key", b"kez"))  # then it is of another training
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes({"cut off": content[: len(content) // 2], "a bit": content, "empty": b""}[damage])
    assert same(checkpoints.newest("gate"), checkpoint(9))
    silent = suffix == ".json" and damage in ("gone", "a bit")  # as if it had not been written
    assert [("10.json cannot be used" in line) for line in told] == ([] if silent else [True])


def test_what_was_not_finished_does_not_count(checkpoints):
    checkpoints.write(checkpoint(1))
    (checkpoints.folder / "2.npz").write_bytes(b"killed before its JSON was there")
    (checkpoints.folder / ".2.writing-0.npz").write_bytes(b"half")
    assert same(checkpoints.newest("gate"), checkpoint(1))
    checkpoints.clear()
    assert not checkpoints.folder.exists()
    checkpoints.clear()


def test_other_stages_and_other_trainings_are_not_continued(checkpoints, tmp_path, told):
    checkpoints.write(checkpoint(5))
    assert checkpoints.newest("subtypes") is None
    assert checkpoints.stages() == {"gate"}
    other = Checkpoints(checkpoints.folder, "other", told.append)
    assert other.newest("gate") is None
    assert other.stages() == set()
    other.write(checkpoint(1, best=0.9))
    assert same(other.newest("gate"), checkpoint(1, best=0.9))
    assert {path.name for path in checkpoints.folder.iterdir()} == {"1.json", "1.npz"}


def test_numbers_come_back_to_the_last_bit(checkpoints):
    loss = float(np.float64(1) / 3)
    checkpoints.write(checkpoint(1, best=loss))
    assert checkpoints.newest("gate").progress.best_loss == loss
    checkpoints.write(checkpoint(2, best=float("inf")))
    assert checkpoints.newest("gate").progress.best_loss == float("inf")
    json.loads((checkpoints.folder / "1.json").read_text())
