"""Where the bootstrap has nothing to say."""

import numpy as np
import pytest
from scipy import stats

from ich.evaluation.statistics import results
from ich.evaluation.statistics.proportions import EXACT, exact_interval, jeffreys_draws
from ich.evaluation.statistics.sample import Sample


@pytest.mark.parametrize(("successes", "trials"), [(0, 18), (18, 18), (18, 20), (1, 1), (7, 50)])
def test_exact_intervals_are_those_of_scipy(successes, trials):
    found = exact_interval(successes, trials)
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_by_hand():
    assert exact_interval(18, 18).low == pytest.approx(0.025 ** (1 / 18))  # all right: p ** 18 = 2.5 %
    draws = jeffreys_draws(18, 18, 20_000, np.random.default_rng(0))
    assert draws.mean() == pytest.approx(18.5 / 19, abs=2e-3)


def figure(truth, decisions, patients, metric):
    def six(column):
        return np.repeat(np.array(column, bool)[:, None], 6, axis=1)

    sample = Sample(six(truth), six(decisions) * 0.5, six(decisions), np.array(patients))
    table = results.estimates(sample, 50, np.random.default_rng(0))
    one = results.ratio_estimates(sample.truth, sample.decisions, sample.patients, 50, np.random.default_rng(0))
    assert table["any"][metric] == one[0].figures[metric]
    return table["any"][metric]


def test_all_found_is_no_certainty_and_counts_patients_not_slices():
    truth, patients = [1] * 6 + [0] * 6, ["a", "a", "b", "b", "c", "c"] + ["d", "d", "d", "e", "e", "f"]
    found = figure(truth, [1] * 6 + [0] * 5 + [1], patients, "sensitivity")  # 6 slices of 3 patients, all found
    assert (found.value, found.low, found.high, found.reason) == (1, pytest.approx(0.025 ** (1 / 3)), 1, EXACT)
    partly = figure(truth, [1] * 6 + [0] * 5 + [1], patients, "specificity")
    assert partly.reason == ""  # the bootstrap's


def test_where_each_row_is_another_patient_the_interval_is_exact():
    truth, decisions = [1] * 8 + [0] * 4, [1] * 6 + [0] * 6
    found = figure(truth, decisions, [f"p{row}" for row in range(12)], "sensitivity")
    assert (found.low, found.high) == pytest.approx(exact_interval(6, 8)[:2])
