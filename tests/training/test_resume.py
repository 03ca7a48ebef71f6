"""A training that is cut off and started again ends with the same bits as one that was not, wherever it was cut off."""

import csv
from itertools import chain

import numpy as np
import pytest

from ich.card import read_card
from ich.files import read_json
from ich.training import fit
from ich.training.checkpoint import Checkpoints
from ich.training.train import train
from ich.training.validation import Validation
from ich.workspace import Workspace
from square_slices import load, squares_experiment, tiny_backbones, write_squares

__all__ = ["tiny_backbones"]

# Every stage has two phases; with the losses below, rates fall and patience runs out in each of them.
PLAN = {
    "phases": [
        {"name": "heads", "epochs": 4, "learning_rate": 5e-3, "trainable": "heads"},
        {"name": "all", "epochs": 5, "learning_rate": 1e-3, "trainable": "all"},
    ],
    "end_to_end": {"epochs": 4, "learning_rate": 1e-4},
    "plateau": {"factor": 0.5, "patience": 1},
    "early_stopping": {"patience": 2},
    "augmentation": {"horizontal_flip": 0.5, "rotate_degrees": 5, "shift": 0.05},
    "accumulation": 2,
    "batch_size": 8,
}
LOSSES = [0.5, 0.6, 0.4, 0.45, 0.5, 0.39, 0.41, 0.42, 0.43, 0.44]  # by epoch of the stage


OPTIONS = {
    "sampling": "balanced",
    "loss": {"weighting": "competition", "label_smoothing": 0.05},
    "weight_decay": 0.1,
    "schedule": "cosine",
    "ema": 0.9,
    "augmentation": PLAN["augmentation"] | {"mixup": 0.4},
}


def prepared(root, **settings):
    write_squares(root, train=48, val=20)
    return squares_experiment(root, **PLAN | {"model": "cascade"} | settings)


def results(config):
    """What must be the same: weights, history but for times, and what the card says of the stages."""
    workspace = Workspace(config)
    rows = list(csv.DictReader((workspace.run / "history.csv").read_text().splitlines()))
    told = [{name: row[name] for name in row if name not in ("seconds", "images_per_s", "waiting")} for row in rows]
    weights = [load(path).get_weights() for path in sorted(workspace.models.glob("*.keras"))]
    return told, read_card(workspace.final_model).training["stages"], list(chain(*weights))


def same(a, b):
    return a[:2] == b[:2] and all(np.array_equal(x, y) for x, y in zip(a[2], b[2], strict=True))


@pytest.fixture(scope="module")
def whole(tiny_backbones, tmp_path_factory):
    config = prepared(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        plan_losses(patch)
        train(config)
    return results(config)


def plan_losses(patch):
    """The validation loss of an epoch is the one in LOSSES: it depends on the epoch and nothing else."""
    after_epoch = fit.after_epoch

    def planned(stage_fit, index, epoch, *rest):
        patch.setattr(Validation, "loss", lambda *_: LOSSES[epoch - 1])
        after_epoch(stage_fit, index, epoch, *rest)

    patch.setattr(fit, "after_epoch", planned)
    patch.setattr(Validation, "loss", lambda *_: 0.7)  # before the first epoch


def test_the_plan_does_what_the_tests_need(whole):
    rows = whole[0]
    for stage in ("gate", "subtypes", "end-to-end"):
        rates = [float(row["learning_rate"]) for row in rows if row["stage"] == stage]
        assert len(set(rates)) >= 2  # a plateau was met
    gate = [row["phase"] for row in rows if row["stage"] == "gate"]
    assert gate == ["heads"] * 4 + ["all"] * 4  # patience ran out in the second phase


class Killed(BaseException):
    """Nothing catches it."""


def train_until(config, epochs, *, before_checkpoint=False):
    """Train, and stop in the epoch of that number, over all stages, before or after its checkpoint is written."""
    write, left = Checkpoints.write, [epochs]

    def counted(checkpoints, checkpoint):
        left[0] -= 1
        if left[0] > 0:
            return write(checkpoints, checkpoint)
        if not before_checkpoint:
            write(checkpoints, checkpoint)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "write", counted)
        with pytest.raises(Killed):
            train(config)


@pytest.mark.parametrize(
    ("epochs", "before_checkpoint"),
    [
        (4, True),
        (7, False),
        (18, False),
        *(
            pytest.param(*place, marks=pytest.mark.soak)
            for place in ((3, False), (4, False), (6, True), (8, False), (12, True))
        ),
    ],
)
def test_a_killed_training_ends_like_one_that_was_not(whole, tmp_path, monkeypatch, epochs, before_checkpoint):
    config = prepared(tmp_path)
    plan_losses(monkeypatch)
    train_until(config, epochs, before_checkpoint=before_checkpoint)
    begun = []
    fit_phase = fit.fit_phase
    monkeypatch.setattr(fit, "fit_phase", lambda f, *a: begun.append((f.stage.name, *a[:2])) or fit_phase(f, *a))
    train(config)
    assert same(results(config), whole)
    rows = [(row["stage"], row["phase"]) for row in whole[0]]
    assert begun[0][0] == rows[epochs - 1][0]  # finished stages are not trained again
    kept = epochs - before_checkpoint
    expected = sum(1 for row in rows[:kept] if row[0] == begun[0][0])
    assert begun[0][2] == expected  # nor are finished epochs
    assert not list(Workspace(config).checkpoints.glob("*"))


def test_a_damaged_checkpoint_costs_an_epoch_and_changes_nothing(whole, tmp_path, monkeypatch, capfd):
    config = prepared(tmp_path)
    plan_losses(monkeypatch)
    train_until(config, 6)
    newest = Workspace(config).checkpoints / "6.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    train(config)
    told = capfd.readouterr().err
    assert "6.json cannot be used (6.npz is not as it was written); looking for the one before it" in told
    assert "gate: goes on after epoch 5" in told
    assert same(results(config), whole)


def test_a_lost_best_file_comes_back_from_the_checkpoint(whole, tmp_path, monkeypatch):
    config = prepared(tmp_path)
    plan_losses(monkeypatch)
    train_until(config, 7)
    (Workspace(config).models / "stage1_best.keras").unlink()
    train(config)
    assert same(results(config), whole)


def test_with_all_options_on_too(tiny_backbones, tmp_path, monkeypatch):
    """Balanced sampling, mixup, cosine and averaged weights; killed after epoch 3, which is the best so far."""
    plan_losses(monkeypatch)
    configs = [prepared(tmp_path / name, model="convnext", **OPTIONS) for name in ("whole", "cut")]
    asked, adam, batches = [], fit.adam, fit.training_batches
    monkeypatch.setattr(fit, "adam", lambda *a: asked.append(a[1]) or adam(*a))
    monkeypatch.setattr(fit, "training_batches", lambda *a, **k: asked.append(k["chances"]) or batches(*a, **k))
    train(configs[0])
    assert asked[0] == 0.1
    assert asked[1].max() > 2 * asked[1].min()  # positives of rare labels more often than negatives
    train_until(configs[1], 3)
    workspace = Workspace(configs[1])
    key = read_json(workspace.checkpoints / "3.json")["training"]
    found = Checkpoints(workspace.checkpoints, key, pytest.fail).newest("convnext")
    averages = found.variables[-4:]  # of the two dense layers that learn in the first phase
    assert all(any(np.array_equal(average, best) for best in found.best) for average in averages)
    raw = found.variables[: len(found.best)]
    assert sum(any(np.array_equal(average, each) for each in raw) for average in averages) == 0
    train(configs[1])
    assert same(results(configs[1]), results(configs[0]))
    rates = [float(row["learning_rate"]) for row in results(configs[0])[0]]
    assert rates[:5] == pytest.approx([5e-3 * (1 + np.cos(np.pi * i / 4)) / 2 for i in range(4)] + [1e-3], rel=1e-3)
