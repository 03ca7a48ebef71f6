"""Nominal 95 % intervals hold the true figures about as often as they say; the whole is in benchmarks/coverage.py."""

import numpy as np
import pytest
from benchmarks.coverage import BARRED, FEW, HIGH, LOW, MANY, coverage, mean_and_error


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    return coverage(MANY, 30, 200, population=30_000, processes=1)


@pytest.mark.parametrize("metric", BARRED)
def test_30_sets_of_many_positive_patients(metric, many):
    mean, error = mean_and_error(many[metric])
    assert LOW - 4 * error < mean
    assert mean > 0.8


@pytest.mark.soak
def test_300_sets_of_many_positive_patients_and_of_few():
    many, by_slice = coverage(MANY, 300, 1000), coverage(MANY, 60, 500, by_slice=True)
    for metric in BARRED:
        mean, error = mean_and_error(many[metric])
        print(f"{metric}: {mean:.1%} +- {error:.1%}, over slices {mean_and_error(by_slice[metric])[0]:.1%}")
        assert LOW - 3 * error < mean < HIGH + 3 * error
    for metric in ("auroc", "log_loss", "brier"):  # a patient's slices are alike: over slices it is too narrow
        assert mean_and_error(by_slice[metric])[0] < LOW
    few = coverage(FEW, 100, 500)
    assert np.nanmean(few["auroc"][:, FEW.index(5)]) < LOW  # where the bootstrap fails
    assert np.isnan(few["auroc"][:, FEW.index(5)]).any()  # no interval rather than a wrong one
