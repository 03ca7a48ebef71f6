"""What calls are worth, of series."""

import numpy as np
import pytest

from ich.evaluation.statistics.predictive_values import COMMON, account
from ich.evaluation.statistics.sample import Sample


def series(positives=20, negatives=18):
    truth = np.zeros((positives + negatives, 6), bool)
    truth[:positives, 0] = truth[:positives, 5] = True
    names = np.array([f"p{row}" for row in range(len(truth))])
    return Sample(truth, truth * 0.5, truth.copy(), names, "series")


def test_no_false_alert_among_few_is_no_promise():
    sample = series()
    called = sample.truth[:, 0].copy()
    called[:2] = False  # 18 of 20 found, no false alert
    found = account(sample, {"youden": called}, 0.01, 2_000, np.random.default_rng(0))
    assert found["here"] == pytest.approx(20 / 38)
    point = found["points"]["youden"]
    assert [each["prevalence"] for each in point["at"]] == [pytest.approx(20 / 38), *COMMON, 0.01]
    at = point["at"][2]  # 5 %
    assert at["ppv"]["value"] == 1
    assert at["ppv"]["low"] < 0.5 < at["ppv"]["high"]
    assert (at["alerts"]["value"], at["missed"]["value"]) == pytest.approx((4.5, 0.5))
    assert at["false_alerts"]["high"] > 5
    assert point["found"]["subdural"] == {"n": 20, "called": 18}
    assert point["found"]["epidural"] == {"n": 0, "called": 0}


def test_every_point_has_the_same_draws_and_one_class_has_none():
    sample = series()
    called = np.arange(38) % 3 > 0
    found = account(sample, {"a": called, "b": called}, None, 100, np.random.default_rng(0))
    assert found["points"]["a"] == found["points"]["b"]
    assert account(series(positives=0), {"a": called[:18]}, None, 10, np.random.default_rng(0)) is None
