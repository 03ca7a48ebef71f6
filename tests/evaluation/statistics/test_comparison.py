import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ich.errors import DataError
from ich.evaluation.statistics import delong, results
from ich.evaluation.statistics.comparison import compare_auroc, compare_samples
from ich.labels import LABELS


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
    given = np.array(truth, bool), (score, score), np.array(["a", "b"]), 50, np.random.default_rng(0)
    assert {each.reason for each in compare_auroc(*given)} == {reason}
    assert {each.reason for each in compare_auroc(*given, "study")} == {reason.replace("slice", "study")}


def make_pair(noise: float, *, reverse: bool = False) -> tuple[results.Sample, results.Sample]:
    """Two systems on the same 300 slices of 60 patients; the second is worse by `noise`."""
    rng = np.random.default_rng(0)
    truth = rng.random((300, 6)) < 0.2
    first = np.clip(0.3 + 0.3 * truth + 0.15 * rng.normal(size=(300, 6)), 0.01, 0.99)
    second = np.clip(first + noise * rng.normal(size=(300, 6)), 0.01, 0.99)
    patients = np.repeat(np.arange(60), 5).astype(str)
    pair = [results.Sample(truth, each, each >= 0.5, patients) for each in (first, second)]
    return (pair[1], pair[0]) if reverse else (pair[0], pair[1])


def test_differences_of_samples_are_those_of_their_figures_and_change_their_sign_when_swapped():
    first, second = make_pair(0.2)
    found = compare_samples(first, second, 100, np.random.default_rng(1))
    back = compare_samples(*make_pair(0.2, reverse=True), 100, np.random.default_rng(1))
    tables = [results.estimates(each, 0, np.random.default_rng(0)) for each in (first, second)]
    for label, row in found.labels.items():
        for metric, figure in row.items():
            assert figure.value == pytest.approx(tables[0][label][metric].value - tables[1][label][metric].value)
            assert figure.low < figure.value < figure.high
            assert back.labels[label][metric].low == pytest.approx(-figure.high)
    loss = [table["all labels"]["weighted_log_loss"].value for table in tables]
    assert found.weighted_log_loss.value == pytest.approx(loss[0] - loss[1])
    assert found.weighted_log_loss.high < 0
    assert set(found.as_json()["by_patient"]) == set(LABELS)


def test_delong_is_by_patient():
    first, second = make_pair(0.2)
    found = compare_samples(first, second, 0, np.random.default_rng(1)).by_patient["any"]
    truth = first.truth[:, 0].reshape(60, 5).any(axis=1)
    scores = [each.probabilities[:, 0].reshape(60, 5).max(axis=1) for each in (first, second)]
    expected = delong.compare(truth, *scores, np.arange(60).astype(str))
    assert (found.value, found.p) == pytest.approx((expected.value, expected.p))
    assert np.isnan(compare_samples(first, second, 0, np.random.default_rng(1)).labels["any"]["auroc"].low)


def test_samples_of_other_rows_are_refused():
    first, second = make_pair(0.2)
    other = results.Sample(second.truth, second.probabilities, second.decisions, second.patients[::-1])
    with pytest.raises(DataError, match="on the same rows: 300 and 300 differ in labels, patients or order"):
        compare_samples(first, other, 0, np.random.default_rng(0))
