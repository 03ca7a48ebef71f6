import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from ich.evaluation.statistics.calibration_slope import Recalibration, logits


def reference(truth, x, weights, offset: bool) -> float:
    """Maximum likelihood by BFGS: the slope, or the intercept with the slope held at 1."""

    def loss(parameters):
        eta = parameters[0] + (1 if offset else parameters[1]) * x
        return -(weights * np.where(truth, log_expit(eta), log_expit(-eta))).sum()

    found = minimize(loss, [0.0] if offset else [0.0, 1.0], method="BFGS", options={"gtol": 1e-8, "xrtol": 1e-12})
    return found.x[0] if offset else found.x[1]


def fit(truth, probabilities) -> tuple[float, float]:
    each = Recalibration(np.array(truth, bool), probabilities, np.zeros(len(truth), np.intp), 1)
    slope, intercept = each.fit(np.ones((1, 1), np.int32))
    return float(slope[0]), float(intercept[0])


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-2.0, 0.4), (1.0, 3.0)])
def test_slope_and_intercept_equal_maximum_likelihood_under_any_weights(a: float, b: float):
    rng = np.random.default_rng(0)
    x = rng.normal(-1, 2, 600)
    truth, probabilities = rng.random(600) < expit(a + b * x), expit(x)
    groups, weights = rng.integers(0, 40, 600), rng.integers(0, 4, (4, 40)).astype(np.int32)
    slope, intercept = Recalibration(truth, probabilities, groups, 40).fit(weights)
    for row, multiplicity in enumerate(weights):
        expected = [reference(truth, logits(probabilities), multiplicity[groups], offset) for offset in (False, True)]
        assert [slope[row], intercept[row]] == pytest.approx(expected, abs=2e-5)


def test_by_hand():
    # Odds at p = 1/5: 1 of 3 positive, odds 1/2; at p = 4/5: 2 of 3, odds 2. Logits go from -ln 4 to ln 4, ln odds from
    # -ln 2 to ln 2: the slope is a half. Expected 3 positives, observed 3: the intercept is 0.
    slope, intercept = fit([1, 0, 0, 1, 1, 0], [0.2, 0.2, 0.2, 0.8, 0.8, 0.8])
    assert slope == pytest.approx(0.5)
    assert intercept == pytest.approx(0, abs=1e-9)
    # One value: the intercept moves the odds from 1 to 3.
    assert fit([1, 1, 1, 0], [0.5] * 4)[1] == pytest.approx(np.log(3))


def test_true_probabilities_have_slope_1_and_intercept_0():
    rng = np.random.default_rng(1)
    probabilities = rng.beta(0.3, 2, 200_000)
    slope, intercept = fit(rng.random(200_000) < probabilities, probabilities)
    assert (slope, intercept) == (pytest.approx(1, abs=0.03), pytest.approx(0, abs=0.03))


@pytest.mark.parametrize(
    ("truth", "probabilities", "slope", "intercept"),
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], "no positive series", "no positive series"),
        ([1, 1, 1], [0.1, 0.2, 0.3], "no negative series", "no negative series"),
        ([0, 1, 0, 1], [0.3] * 4, "all probabilities are equal", ""),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], "parts the classes", ""),
        ([0, 0, 1, 1], [0.1, 0.2, 0.2, 0.4], "parts the classes", ""),  # touching: still infinite
        ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], "parts the classes", ""),  # the wrong way round
        ([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], "", ""),
        ([0, 1, 0, 1, 0], [0, 0, 1, 1, 0.5], "", ""),  # 0 and 1 are clipped
    ],
)
def test_undefined_is_nan_with_a_reason(truth, probabilities, slope: str, intercept: str):
    found = dict(zip(("calibration_slope", "calibration_intercept"), fit(truth, probabilities), strict=True))
    each = Recalibration(np.array(truth, bool), probabilities, np.arange(len(truth)), len(truth))
    for metric, reason in (("calibration_slope", slope), ("calibration_intercept", intercept)):
        assert np.isnan(found[metric]) == bool(reason)
        if reason:
            assert reason in each.why_undefined(metric, "series")


def test_converges_where_newton_alone_runs_away():
    # From slope 1, probabilities near 0 and 1 are so flat that an undamped step overshoots by far.
    rng = np.random.default_rng(2)
    x = rng.normal(0, 12, 400)
    truth = rng.random(400) < expit(0.05 * x)
    slope, _ = fit(truth, expit(x))
    assert slope == pytest.approx(reference(truth, logits(expit(x)), np.ones(400), offset=False), abs=1e-5)


def test_a_replicate_that_drew_one_class_is_nan_and_the_others_are_not():
    each = Recalibration(np.array([1, 0, 0, 1], bool), [0.3, 0.4, 0.2, 0.7], np.array([0, 0, 1, 0]), 2)
    slope, intercept = each.fit(np.array([[0, 2], [1, 1]], np.int32))
    assert np.isnan([slope[0], intercept[0]]).all()
    assert np.isfinite([slope[1], intercept[1]]).all()


@pytest.mark.parametrize("kind", ["random", "zeros and ones", "tenths", "tiny", "extreme"])
def test_the_likelihood_is_flat_at_every_fit_and_there_is_a_reason_where_there_is_none(kind: str):
    rng = np.random.default_rng(3)
    for _ in range(60):
        n = int(rng.integers(2, 40))
        probabilities = {
            "random": rng.random(n), "zeros and ones": np.round(rng.random(n)), "tenths": np.round(rng.random(n), 1),
            "tiny": rng.random(n) ** 30, "extreme": expit(rng.normal(0, 15, n)),
        }[kind]  # fmt: skip
        truth = rng.random(n) < rng.choice([0.1, 0.5, 0.9])
        each = Recalibration(truth, probabilities, np.arange(n), n)
        slope, intercept = (float(found[0]) for found in each.fit(np.ones((1, n), np.int32)))
        for metric, value in (("calibration_slope", slope), ("calibration_intercept", intercept)):
            assert np.isfinite(value) or "converge" not in each.why_undefined(metric)
        if np.isfinite(intercept):
            assert (truth - expit(intercept + logits(probabilities))).sum() == pytest.approx(0, abs=1e-5)
