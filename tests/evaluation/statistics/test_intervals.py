import numpy as np
import pytest

from ich.evaluation.statistics import intervals, results
from ich.evaluation.statistics.results import Estimate, Sample


def make_clustered(patients: int, slices: int, seed: int = 0) -> Sample:
    """Slices of one patient share their label and most of their score."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), slices)
    truth = (rng.random(patients) < 0.4)[patient]
    score = 1 / (
        1 + np.exp(-(1.5 * truth - 0.7 + rng.normal(size=patients)[patient] + 0.3 * rng.normal(size=len(patient))))
    )
    columns = np.tile(score[:, None], (1, 6))
    return Sample(np.tile(truth[:, None], (1, 6)), columns, columns >= 0.5, patient.astype(str))


def interval(sample: Sample, metric: str = "auroc") -> Estimate:
    return results.estimates(sample, 400, np.random.default_rng(1))["any"][metric]


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


def test_draws_hold_as_many_patients_as_there_are_and_do_not_depend_on_the_chunks():
    whole = np.concatenate(list(intervals.draw(11, 50, 11, np.random.default_rng(3))))
    in_chunks = list(intervals.draw(11, 50, 300_000, np.random.default_rng(3)))
    assert len(in_chunks) > 1
    assert (whole.sum(axis=1) == 11).all()
    np.testing.assert_array_equal(np.concatenate(in_chunks), whole)


@pytest.mark.parametrize("metric", ["auroc", "average_precision", "sensitivity", "specificity", "log_loss"])
def test_interval_holds_its_estimate_and_shrinks_with_more_patients(metric: str):
    few, many = interval(make_clustered(60, 10), metric), interval(make_clustered(960, 10), metric)
    assert few.low < few.value < few.high
    assert width(many) < 0.5 * width(few)


def test_patients_give_wider_intervals_than_slices_where_slices_are_alike():
    sample = make_clustered(60, 20)
    slices = Sample(sample.truth, sample.probabilities, sample.decisions, np.arange(len(sample)).astype(str))
    assert width(interval(sample)) > 2 * width(interval(slices))


def test_same_seed_same_interval():
    assert interval(make_clustered(30, 5)) == interval(make_clustered(30, 5))


def test_percentiles_by_hand_leave_undefined_replicates_out():
    low, high, reason = intervals.percentile_interval(np.array([*np.linspace(0, 1, 41), np.nan]))
    assert (low, high, reason) == (pytest.approx(0.025), pytest.approx(0.975), "")


def test_no_interval_from_replicates_that_are_undefined_or_all_equal():
    low, _, reason = intervals.percentile_interval(np.array([0.1, 0.2, np.nan]))
    assert np.isnan(low)
    assert reason == "no interval: undefined in 1 of 3 replicates"
    assert (
        intervals.percentile_interval(np.ones(9)).reason
        == "no interval: the same in every replicate, which is not certainty"
    )
    assert intervals.percentile_interval(np.empty(0)).reason == "no interval was asked for"
