import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from ich.evaluation.statistics import probability_metrics
from ich.evaluation.statistics.probability_metrics import bin_of, expected_calibration_error, gaps, reliability


@pytest.fixture
def column():
    rng = np.random.default_rng(0)
    probabilities = np.round(rng.random(301) ** 3, 2)
    return rng.random(301) < probabilities, probabilities


def ece(truth, probabilities) -> float:
    """Without patients: all slices are of one."""
    sums = gaps(truth, probabilities, np.zeros(len(truth), np.intp), 1)
    return float(expected_calibration_error(sums, [len(truth)])[0])


def test_brier_equals_scikit_learn(column):
    assert probability_metrics.squared_errors(*column).mean() == pytest.approx(brier_score_loss(*column))
    assert probability_metrics.squared_errors(np.array([True, False]), [0.8, 0.5]) == pytest.approx([0.04, 0.25])


def test_bins_hold_as_many_and_never_part_ties():
    assert np.bincount(bin_of(np.arange(30), 15)).tolist() == [2] * 15
    assert np.bincount(bin_of(np.arange(10), 4)).tolist() == [3, 2, 3, 2]
    assert bin_of([0.1, 0.1, 0.1, 0.1, 0.1, 0.9], 3).tolist() == [0, 0, 0, 0, 0, 1]
    assert bin_of([0.5] * 7).tolist() == [0] * 7
    assert bin_of([0.3, 0.1], 15).tolist() == [1, 0]  # fewer slices than bins
    assert bin_of([]).tolist() == []


def test_reliability_by_hand():
    truth = np.array([0, 1, 1, 1], bool)
    low, high = reliability(truth, np.array([0.2, 0.4, 0.6, 0.9]), bins=2)
    assert low == (0.2, 0.4, 2, 1, pytest.approx(0.3), 0.5)
    assert high == (0.6, 0.9, 2, 2, pytest.approx(0.75), 1.0)


def test_ece_is_the_mean_gap_of_the_reliability_diagram(column):
    bins = reliability(*column)
    assert sum(each.n for each in bins) == len(column[0])
    assert ece(*column) == pytest.approx(
        sum(each.n / 301 * abs(each.observed - each.mean_probability) for each in bins)
    )
    # By hand: 15 bins of one slice each; every gap is 0.25.
    positive = np.arange(15) % 2 == 1
    probabilities = np.where(positive, 0.75, 0.25) + np.arange(15) * 1e-9
    assert ece(positive, probabilities) == pytest.approx(0.25)


def test_ece_of_a_constant_is_how_far_it_is_from_the_prevalence():
    assert ece(np.arange(10) < 3, np.full(10, 0.45)) == pytest.approx(0.15)


def test_gaps_per_patient_add_up_to_those_of_all(column):
    patients = np.random.default_rng(1).integers(0, 20, 301)
    assert gaps(*column, patients, 20).sum(axis=0) == pytest.approx(gaps(*column, patients * 0, 1)[0])
