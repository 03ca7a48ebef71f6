import numpy as np
import pytest

from ich.config import Evaluate
from ich.evaluation.thresholds import choose, youden


def test_youden_by_hand():
    truth = np.array([0, 0, 0, 1, 0, 1, 1], bool)
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], np.float32)
    # At 0.4: 3/3 + 3/4; at 0.6: 2/3 + 4/4.
    assert youden(truth, scores) == pytest.approx(0.4)


def test_youden_is_a_probability_even_where_no_threshold_is_better_than_none():
    assert youden(np.array([1, 0], bool), np.array([0.2, 0.8])) in (0.2, 0.8)


def test_each_label_has_its_own_threshold_and_source():
    rng = np.random.default_rng(0)
    truth = rng.random((50, 6)) < 0.4
    truth[:, 1], truth[:, 2] = False, True
    thresholds = choose(Evaluate(), truth, rng.random((50, 6)))
    assert thresholds[0].source == "validation (Youden)"
    assert (thresholds[1].value, thresholds[1].source) == (0.5, "a fixed 0.5, as validation holds no positive slice")
    assert (thresholds[2].value, thresholds[2].source) == (0.5, "a fixed 0.5, as validation holds no negative slice")


def test_a_number_in_the_config_is_every_labels_threshold():
    thresholds = choose(Evaluate(threshold=0.25), np.ones((2, 6), bool), np.ones((2, 6)))
    assert {(threshold.value, threshold.source) for threshold in thresholds} == {(0.25, "the config")}
