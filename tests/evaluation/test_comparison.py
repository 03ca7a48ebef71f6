import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ich.evaluation.comparison import compare_auroc


@pytest.fixture
def scored():
    """Truth, a score, one much like it, and the patient of each of 800 slices; slices of a patient are alike."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(80), 10)
    truth = rng.random(800) < 0.3
    first = truth + rng.normal(size=80)[patients] + rng.normal(size=800)
    return truth, first, first + 0.05 * rng.normal(size=800), patients.astype(str)


def test_both_aurocs_are_scikit_learns_and_the_difference_is_theirs(scored):
    truth, first, second, patients = scored
    pair = compare_auroc(truth, (first, second), patients, 0, np.random.default_rng(0))
    assert pair.first.value == pytest.approx(roc_auc_score(truth, first))
    assert pair.second.value == pytest.approx(roc_auc_score(truth, second))
    assert pair.difference.value == pytest.approx(pair.first.value - pair.second.value)
    assert np.isnan(pair.difference.low)  # no replicates, no interval


def test_the_paired_difference_is_tighter_than_either_score(scored):
    truth, first, second, patients = scored
    pair = compare_auroc(truth, (first, second), patients, 400, np.random.default_rng(0))
    assert pair.difference.high - pair.difference.low < 0.3 * (pair.first.high - pair.first.low)


def test_a_score_does_not_differ_from_itself(scored):
    truth, first, _, patients = scored
    same = compare_auroc(truth, (first, first * 2), patients, 50, np.random.default_rng(0))
    assert same.difference.value == 0


@pytest.mark.parametrize(("truth", "reason"), [([1, 1], "no negative slice"), ([0, 0], "no positive slice")])
def test_one_class_is_undefined_with_the_reason(truth, reason):
    score = np.array([0.2, 0.8])
    pair = compare_auroc(np.array(truth, bool), (score, score), np.array(["a", "b"]), 50, np.random.default_rng(0))
    assert {each.reason for each in pair} == {reason}
