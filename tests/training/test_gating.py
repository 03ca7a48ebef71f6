import math
from types import SimpleNamespace

import numpy as np
import pytest

from ich.config import Gate
from ich.training import gating
from ich.training.gating import choose_gate, lowered


@pytest.fixture
def gate(monkeypatch):
    """A gate that gives 0.1, 0.2 ... 0.9 to nine slices, of which the last five are epidurals."""
    p_any = np.arange(1, 10)[:, None] / 10
    monkeypatch.setattr(gating, "predict", lambda *_: p_any)
    labels = np.zeros((9, 6), np.uint8)
    labels[4:, :2] = 1

    def choose(compute_dtype="float32", **rule):
        network = SimpleNamespace(compute_dtype=compute_dtype, variables=[])
        return choose_gate(Gate(**rule), network, Slices(labels), 64, 8)

    return choose


class Slices(SimpleNamespace):
    """What `choose_gate` looks at of a manifest."""

    def __init__(self, labels):
        super().__init__(labels=labels)

    def __len__(self):
        return len(self.labels)


def test_the_threshold_lies_just_under_the_lowest_positive_that_must_pass(gate):
    found = gate(max_missed=0)
    assert 0.5 - 2e-5 < found.threshold < 0.5
    assert (found.missed["epidural"], found.positives["epidural"], found.positives["subdural"]) == (0, 5, 0)
    assert found.chosen.startswith("on 9 validation slices")


def test_a_slice_that_is_likelier_positive_than_not_always_passes(gate):
    assert gate(max_missed=0.4).threshold == 0.5  # 0.7 by the rule alone


def test_a_gate_in_half_precision_leaves_room_for_the_same_slice_in_float32(gate):
    # A tenth of a logit under 0.5.
    assert gate("bfloat16", max_missed=0).threshold == pytest.approx(1 / (1 + math.exp(0.1)), abs=2e-5)
    assert lowered(0.008, half_precision=True) > 0.007  # a low threshold is not lowered to nothing
    assert lowered(0.0, half_precision=True) == lowered(0.0, half_precision=False) == 0


def test_a_threshold_of_the_config_is_taken_as_it_is_and_its_misses_are_counted(gate):
    found = gate("bfloat16", threshold=0.65)
    assert (found.threshold, found.missed["any"], found.missed["epidural"]) == (0.65, 2, 2)
