"""Bootstrap over patients: slices of one patient resemble each other, so patients are drawn, not slices.

A replicate is a vector of multiplicities, how often each patient was drawn; every statistic is computed from such
weights for many replicates at once. Intervals are percentiles (Efron and Tibshirani 1993, chapter 13).

Simulated (benchmarks/coverage.py), 95 % intervals of labels with 200 and more positive patients hold the true figure in
94 to 95 %. Those of rare labels are too narrow: that of the AUROC holds it in 81 % with 5 positive patients, in 86 %
with 10, in 91 % with 20. That of the ECE never holds the 0 of right probabilities: an ECE is over 0 by chance alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics.metrics import Floats

LEVEL = 0.95
FEWEST_DEFINED = 0.9  # share of the replicates; under it the percentiles would describe the lucky draws
_CHUNK = 500_000  # slices x replicates weighed at once: 2 MB an array, in the cache; 5 times faster than 8 MB


class Interval(NamedTuple):
    """Ends of a 95 % interval, or NaN with the reason."""

    low: float
    high: float
    reason: str = ""


def draw(patients: int, replicates: int, slices: int, rng: np.random.Generator) -> Iterator[NDArray[np.int32]]:
    """Yield the multiplicities of all replicates in chunks (b, patients); each row sums to `patients`.

    Args:
        patients: number of patients; as many are drawn, with replacement.
        replicates: total over the chunks.
        slices: number of slices that will be weighed; larger data come in smaller chunks.
        rng: where the draws come from; the chunk size does not change them.
    """
    size = max(1, _CHUNK // max(slices, patients))
    for start in range(0, replicates, size):
        rows = min(size, replicates - start)
        drawn = rng.integers(patients, size=(rows, patients)) + patients * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.int32)


def patient_codes(patients: NDArray[np.str_]) -> tuple[NDArray[np.intp], int]:
    """Number the patients: (n,) names -> (n,) integers from 0, and how many there are."""
    names, codes = np.unique(patients, return_inverse=True)
    return codes, len(names)


def sum_by_patient(values: NDArray[Any], codes: NDArray[np.intp], patients: int) -> Floats:
    """Sum the rows of each patient: (n, columns) -> (patients, columns)."""
    return np.stack([np.bincount(codes, column, minlength=patients) for column in values.T], axis=1)


def percentile_interval(replicates: Floats) -> Interval:
    """95 % interval from the replicates (b,) of one statistic; NaN replicates (one class drawn) are left out.

    No interval is given where more than a tenth of the replicates are undefined, or where all are equal: that
    happens at the end of a scale (every positive found, say) and would look like certainty.
    """
    defined = replicates[~np.isnan(replicates)]
    if not len(replicates):
        return Interval(np.nan, np.nan, "no interval was asked for")
    if len(defined) < FEWEST_DEFINED * len(replicates):
        lost = len(replicates) - len(defined)
        return Interval(np.nan, np.nan, f"no interval: undefined in {lost} of {len(replicates)} replicates")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if np.ptp(defined) < 1e-12:
        return Interval(np.nan, np.nan, "no interval: the same in every replicate, which is not certainty")
    return Interval(float(low), float(high))


def concatenate(chunks: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Join the statistics of the chunks along the replicates."""
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]} if chunks else {}
