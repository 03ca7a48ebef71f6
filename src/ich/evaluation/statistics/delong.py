"""DeLong's test: variance of an AUROC and of the difference of two on the same cases (DeLong 1988).

With the placements from midranks, which takes n log n steps (Sun and Xu 2014). Cases must be independent, one a
patient: slices of a patient are alike, and the test would be far too sure of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ich.errors import DataError
from ich.evaluation.statistics.metrics import Floats

Z = float(stats.norm.ppf(0.975))
_NAN = float("nan")


@dataclass(frozen=True)
class Difference:
    """Two AUROCs of the same cases, and the first minus the second with 95 % interval and two-sided p."""

    first: float
    second: float
    value: float
    low: float = _NAN
    high: float = _NAN
    z: float = _NAN
    p: float = _NAN
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """With null for NaN, which JSON does not have."""
        return {name: None if value != value else value for name, value in vars(self).items()}


def aurocs_with_covariance(truth: NDArray[np.bool_], scores: ArrayLike) -> tuple[Floats, Floats]:
    """AUROCs of several scores of the same independent cases, and the covariance of their estimates.

    Args:
        truth: (n,)
        scores: (k, n), in any unit; ties count half.

    Returns:
        (k,) and (k, k). NaN of one class only; the covariance also where a class has fewer than two cases.
    """
    values = np.asarray(scores, np.float64)
    positive, negative = values[:, truth], values[:, ~truth]
    m, n = positive.shape[1], negative.shape[1]
    if not m or not n:
        return np.full(len(values), np.nan), np.full((len(values), len(values)), np.nan)
    pooled = stats.rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    beaten = (pooled[:, :m] - stats.rankdata(positive, axis=1)) / n  # share of the negatives under each positive
    beating = 1 - (pooled[:, m:] - stats.rankdata(negative, axis=1)) / m  # share of the positives over each negative
    if m < 2 or n < 2:
        return beaten.mean(axis=1), np.full((len(values), len(values)), np.nan)
    return beaten.mean(axis=1), np.atleast_2d(np.cov(beaten) / m + np.cov(beating) / n)


def compare(
    truth: NDArray[np.bool_], first: ArrayLike, second: ArrayLike, patients: NDArray[np.str_], level: str = "patient"
) -> Difference:
    """Whether two scores of the same cases differ in AUROC.

    Args:
        truth: (n,)
        first, second: (n,) scores.
        patients: (n,) names, each once.
        level: what a case is, for the reasons.

    Raises:
        DataError: a patient is there twice.
    """
    if len(np.unique(patients)) < len(patients):
        raise DataError(
            f"DeLong's test takes one case a patient, got {len(patients)} of {len(np.unique(patients))}; aggregate "
            "them to patients first, or use the bootstrap over patients"
        )
    (a, b), covariance = aurocs_with_covariance(truth, [np.asarray(first), np.asarray(second)])
    difference = float(a - b)
    found = (float(a), float(b), difference)
    for which, count in (("positive", int(truth.sum())), ("negative", int((~truth).sum()))):
        if count < 2:
            reason = f"no {which} {level}" if not count else f"one {which} {level} only: no variance"
            return Difference(*found, reason=reason)
    error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0)))
    if error < 1e-12:  # rounding
        return Difference(*found, reason="no interval: the difference has no variance")
    z = difference / error
    p = float(2 * stats.norm.sf(abs(z)))
    return Difference(*found, difference - Z * error, difference + Z * error, z, p)
