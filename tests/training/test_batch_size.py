import json

import numpy as np
import pytest

from ich.models.build import build
from ich.training import batch_size
from ich.training.batch_size import choose, with_batch_size
from ich.training.memory import Memory
from ich.training.train import train
from ich.workspace import Workspace
from square_slices import ALL, load, squares_experiment, tiny_backbones, write_squares

__all__ = ["tiny_backbones"]

GATE, END = Memory(weights=100, learnt=100, kept=0, per_image=5), Memory(weights=100, learnt=300, kept=50, per_image=10)


@pytest.mark.parametrize(
    ("memory", "slices", "expected"),
    [
        (2200, None, 128),  # 450 + 128 * 10 = 1730; 85 % of 2200 is 1870
        (1300, None, 64),  # 1090; 1105
        (1280, None, 32),  # 1090; 1088
        (2200, 20, 16),
        (2200, 5, 5),
    ],
)
def test_the_largest_that_fits_is_chosen(memory, slices, expected):
    choice = choose({"gate": GATE, "end-to-end": END}, "a device", memory, slices)
    assert (choice.batch_size, choice.heaviest, choice.fits) == (expected, "end-to-end", True)
    assert choice.estimate == 450 + 10 * expected


def test_where_nothing_fits_the_smallest_is_tried_and_the_remedy_told():
    choice = choose({"gate": GATE}, "a device", 200, None)
    assert (choice.batch_size, choice.fits) == (8, False)
    assert "more than 85% of" in choice.reason
    assert "train.recompute: true" in choice.reason


@pytest.fixture
def auto(tiny_backbones, tmp_path):
    write_squares(tmp_path, train=80, val=20)
    return squares_experiment(tmp_path, model="convnext", phases=[ALL | {"epochs": 1}], batch_size="auto")


def labels_of(config):
    class Slices:
        labels = np.ones((80, 6), np.uint8)

    return Slices()


def test_a_resumed_training_keeps_what_the_first_one_chose(auto, monkeypatch):
    networks, told = build(auto.train, 64, 0), []
    need = batch_size.estimate_part(auto, networks, "final", "all")
    devices = iter([("small", int(need.at(16) / 0.84)), ("large", 2**50)])
    monkeypatch.setattr(batch_size, "device_memory", lambda: next(devices))

    def chosen(config):
        return with_batch_size(config, networks, labels_of(config), told.append).train.batch_size

    assert (chosen(auto), chosen(auto)) == (16, 16)
    kept = json.loads((Workspace(auto).run / "batch_size.json").read_text())
    assert (kept["batch_size"], kept["device"]) == (16, "small")
    assert [line.count("\n") for line in told] == [0, 0]
    other = auto.model_copy(update={"train": auto.train.model_copy(update={"recompute": True})})
    assert chosen(other) == 64  # other settings, another choice; 80 slices


def test_training_with_auto_is_training_with_the_number(auto, tmp_path):
    outcome = train(auto)
    config = json.loads((Workspace(auto).run / "config.json").read_text())
    assert config["train"]["batch_size"] == 64
    weights = load(Workspace(auto).final_model).get_weights()
    Workspace(auto).final_model.unlink()
    train(squares_experiment(tmp_path, model="convnext", phases=[ALL | {"epochs": 1}], batch_size=64))
    again = load(Workspace(auto).final_model).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(weights, again, strict=True))
    assert outcome.counts["training slices"] == 80
