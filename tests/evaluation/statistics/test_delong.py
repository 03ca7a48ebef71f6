import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from ich.errors import DataError
from ich.evaluation.statistics import delong


def structural_components(truth, scores):
    """DeLong 1988, equations 4 to 8, by every pair of a positive and a negative."""
    wins = [
        (np.sign(score[truth][:, None] - score[~truth][None, :]) + 1) / 2 for score in scores
    ]  # fmt: skip
    v10, v01 = (np.stack([each.mean(axis=axis) for each in wins]) for axis in (1, 0))
    return np.array([each.mean() for each in wins]), np.cov(v10) / truth.sum() + np.cov(v01) / (~truth).sum()


@pytest.fixture
def cases():
    rng = np.random.default_rng(0)
    truth = rng.random(150) < 0.3
    first = np.round(truth + rng.normal(size=150), 1)  # with ties
    return truth, first, np.round(first + 0.7 * rng.normal(size=150), 1), np.arange(150).astype(str)


def test_equals_the_structural_components_and_scikit_learn(cases):
    truth, first, second, _ = cases
    found, covariance = delong.aurocs_with_covariance(truth, [first, second])
    expected, expected_covariance = structural_components(truth, [first, second])
    assert found == pytest.approx(expected)
    assert found == pytest.approx([roc_auc_score(truth, first), roc_auc_score(truth, second)])
    assert covariance == pytest.approx(expected_covariance)


def test_interval_z_and_p_are_the_normal_ones(cases):
    truth, first, second, patients = cases
    found = delong.compare(truth, first, second, patients)
    aurocs, covariance = structural_components(truth, [first, second])
    error = np.sqrt(np.array([1, -1]) @ covariance @ [1, -1])
    z = (aurocs[0] - aurocs[1]) / error
    low, high = stats.norm.interval(0.95, aurocs[0] - aurocs[1], error)
    assert (found.z, found.p) == pytest.approx((z, 2 * (1 - stats.norm.cdf(abs(z)))))
    assert (found.low, found.value, found.high) == pytest.approx((low, aurocs[0] - aurocs[1], high))
    swapped = delong.compare(truth, second, first, patients)
    assert (swapped.z, swapped.p) == pytest.approx((-found.z, found.p))


def test_its_variance_is_that_of_a_bootstrap(cases):
    truth, first, second, _ = cases
    _, covariance = delong.aurocs_with_covariance(truth, [first, second])
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, 150, 150) for _ in range(1000)]
    spread = np.var([roc_auc_score(truth[each], first[each]) for each in rows])
    assert covariance[0, 0] == pytest.approx(spread, rel=0.2)


def test_a_patient_twice_is_refused(cases):
    truth, first, second, patients = cases
    patients[3] = patients[5]
    with pytest.raises(DataError, match=r"one case a patient, got 150 of 149; aggregate"):
        delong.compare(truth, first, second, patients)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        ([0, 0, 0, 0], "no positive patient"), ([1, 1, 1, 1], "no negative patient"),
        ([1, 0, 0, 0], "one positive patient only: no variance"),
        ([1, 1, 1, 0], "one negative patient only: no variance"),
        ([1, 0, 1, 0], "no interval: the difference has no variance"),
    ],
)  # fmt: skip
def test_no_variance_has_a_reason(truth, reason: str):
    score = np.array([0.1, 0.2, 0.3, 0.4])
    found = delong.compare(np.array(truth, bool), score, score * 2, np.array(["a", "b", "c", "d"]))
    assert (found.reason, found.as_json()["p"]) == (reason, None)
    assert np.isnan(found.value) == reason.startswith("no ") * ("variance" not in reason)
