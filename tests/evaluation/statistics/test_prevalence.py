import numpy as np
import pytest

from ich.evaluation.statistics import prevalence
from ich.evaluation.statistics.prevalence import at_prevalence, estimates


def test_by_hand():
    # Of 1,000 scans at 10 %: 90 of 100 positives and 180 of 900 negatives raise an alert.
    found = at_prevalence(0.9, 0.8, 0.1)
    assert found.ppv == pytest.approx(90 / 270)
    assert found.npv == pytest.approx(720 / 730)
    assert (found.alerts, found.true_alerts, found.false_alerts) == pytest.approx((27, 9, 18))


def test_at_the_prevalence_of_the_data_they_are_the_counts_own():
    tp, fp, tn, fn = 40, 30, 920, 10
    found = at_prevalence(tp / (tp + fn), tn / (tn + fp), (tp + fn) / 1_000)
    assert (found.ppv, found.npv) == pytest.approx((tp / (tp + fp), tn / (tn + fn)))
    assert found.alerts == pytest.approx(7)


def test_the_curve_rises_in_ppv_and_falls_in_npv():
    curve = at_prevalence(0.9, 0.8, prevalence.GRID)
    assert np.all(np.diff(curve.ppv) > 0)
    assert np.all(np.diff(curve.npv) < 0)
    assert np.all(np.diff(prevalence.GRID) > 0)
    assert curve.true_alerts + curve.false_alerts == pytest.approx(curve.alerts)


def test_intervals_come_from_pairs_of_replicates():
    rng = np.random.default_rng(0)
    sensitivity = rng.normal(0.9, 0.02, 2_000)
    specificity = 1.7 - sensitivity  # what one threshold gains, the other loses
    found = estimates(0.9, 0.8, 0.1, (sensitivity, specificity))
    expected = np.quantile(sensitivity * 0.1 / (sensitivity * 0.1 + (1 - specificity) * 0.9), [0.025, 0.975])
    assert (found["ppv"].low, found["ppv"].high) == pytest.approx(tuple(expected))
    assert found["ppv"].low < found["ppv"].value < found["ppv"].high
    assert found["alerts"].value == pytest.approx(27)


def test_what_is_undefined_says_why():
    nothing_called = estimates(0.0, 1.0, 0.1)
    assert np.isnan(nothing_called["ppv"].value)
    assert nothing_called["ppv"].reason == "nothing is called positive"
    assert (nothing_called["npv"].value, nothing_called["alerts"].value) == (pytest.approx(0.9), 0)
    assert nothing_called["npv"].reason == "no interval was asked for"
    all_called = estimates(1.0, 0.0, 0.1)
    assert (all_called["npv"].reason, all_called["ppv"].value) == ("everything is called positive", pytest.approx(0.1))
    for undefined, reason in (((np.nan, 0.5), "nothing is positive"), ((0.5, np.nan), "nothing is negative")):
        found = estimates(*undefined, 0.1)
        for name in ("ppv", "npv", "alerts"):
            assert np.isnan(found[name].value)
            assert found[name].reason.endswith(reason)
    assert found["true_alerts"].value == pytest.approx(5)  # the specificity has no part in them
