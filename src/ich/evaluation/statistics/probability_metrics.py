"""Whether probabilities mean what they say: Brier score, expected calibration error, reliability.

Calibration slope and intercept are in `calibration_slope`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ich.evaluation.statistics.metrics import Floats, divide

BINS, IN_A_BIN = 15, 20  # at most, and slices in each at least: with fewer, what is found in a bin is chance


def bins_for(slices: int) -> int:
    """How many bins so many slices are parted into: 15, fewer under 300 slices, 2 at least."""
    return max(2, min(BINS, slices // IN_A_BIN))


def squared_errors(truth: NDArray[np.bool_], probabilities: ArrayLike) -> Floats:
    """Squared error of each probability, in the shape of `truth`; its mean is the Brier score (Brier 1950), in [0, 1].

    Brier's own sums over both classes, which is twice that; scikit-learn and the medical literature use this form.
    """
    return np.asarray((np.asarray(probabilities, np.float64) - truth) ** 2)


def bin_of(probabilities: ArrayLike, bins: int | None = None) -> NDArray[np.intp]:
    """The equal-mass bin of each probability: (n,) -> (n,) integers from 0, of at most `bins` bins, none empty.

    Bins end at the k/bins quantiles (the smallest value with at least that share at or under it), so each holds about
    as many slices; equal probabilities are never parted, so where many are equal a bin holds more and there are fewer.
    """
    values = np.asarray(probabilities, np.float64)
    if not len(values):
        return np.zeros(0, np.intp)
    bins = bins_for(len(values)) if bins is None else bins
    ordered = np.sort(values)
    ranks = -(-np.arange(1, bins + 1) * len(values) // bins) - 1  # of k/bins, rounded up, in integers: exact
    return np.searchsorted(np.unique(ordered[np.maximum(ranks, 0)]), values, "left")


class Bin(NamedTuple):
    """Slices of similar probability.

    Attributes:
        low, high: smallest and largest probability in the bin.
        n, positives: how many slices, and how many of them are positive.
        mean_probability, observed: what was predicted, and the share of positives.
    """

    low: float
    high: float
    n: int
    positives: int
    mean_probability: float
    observed: float


def reliability(truth: NDArray[np.bool_], probabilities: ArrayLike, bins: int | None = None) -> list[Bin]:
    """A reliability diagram in numbers: the equal-mass bins of `bin_of`, by ascending probability.

    Args:
        truth: (n,)
        probabilities: (n,) in [0, 1].
        bins: at most so many; None: `bins_for`.
    """
    values = np.asarray(probabilities, np.float64)
    found = []
    codes = bin_of(values, bins)
    for code in range(codes.max(initial=-1) + 1):
        inside, positive = values[codes == code], truth[codes == code]
        low, high, mean = float(inside.min()), float(inside.max()), float(inside.mean())
        found.append(Bin(low, high, len(inside), int(positive.sum()), mean, float(positive.mean())))
    return found


def gaps(truth: NDArray[np.bool_], probabilities: ArrayLike, codes: NDArray[np.intp], groups: int) -> Floats:
    """Sums of label minus probability per group of slices and equal-mass bin: (n,) each -> (groups, bins)."""
    values = np.asarray(probabilities, np.float64)
    bins = bin_of(values)
    count = int(bins.max(initial=-1)) + 1
    cells: Floats = np.bincount(codes * count + bins, truth - values, minlength=groups * count).astype(np.float64)
    return cells.reshape(groups, count)


def expected_calibration_error(gap_sums: Floats, slices: ArrayLike) -> Floats:
    """Mean over slices of how far their bin's share of positives is from its mean probability, in [0, 1].

    ECE = sum over bins of n_bin / n * |observed - mean probability| (Naeini 2015), with equal-mass bins, also called
    adaptive (Nguyen and O'Connor 2015; Nixon 2019). It can only be over 0, so of few slices, and of bootstrap
    replicates, it is too high: its interval may lie above the estimate of well calibrated probabilities.

    Args:
        gap_sums: (..., bins) sums of label minus probability.
        slices: (...) how many slices they are of.
    """
    return divide(np.abs(gap_sums).sum(axis=-1), slices)
