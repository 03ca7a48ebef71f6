"""Every statistic of a sample under weights of its patients: once for the sample, and for each bootstrap replicate.

Replicates are computed in threads (NumPy releases the interpreter lock); which thread computes what changes nothing.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics import intervals, metrics, probability_metrics
from ich.evaluation.statistics.calibration_slope import Recalibration
from ich.evaluation.statistics.metrics import Confusion, Floats, Ranking
from ich.evaluation.statistics.sample import Sample, with_total
from ich.labels import LABELS

# Macro: mean of the six labels. Weighted: the same, weighted by their positives. Micro: their decisions pooled.
COLUMNS = (*LABELS, "macro", "weighted", "micro")
CALIBRATION = ("calibration_slope", "calibration_intercept")
CALIBRATION_REPLICATES = 200  # at most: each is an iterative fit


def replicate_statistics(
    sample: Sample, replicates: int, rng: np.random.Generator
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Statistics of the sample itself, leading axis 1, and of the replicates, but those of CALIBRATION.

    Returns:
        By metric: (b, columns) as in COLUMNS; `weighted_log_loss` and `exact_match` (b,). The second is empty where no
        replicates were asked for.
    """
    prepared = _Prepared.of(sample)
    draws = intervals.draw(sample.n_patients, replicates, len(LABELS) * len(sample), rng)
    return _statistics(prepared, _once(sample)), _in_threads(partial(_statistics, prepared), draws)


def calibration_statistics(
    sample: Sample, replicates: int, rng: np.random.Generator
) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, tuple[str, ...]]]:
    """Calibration slope and intercept of the six labels, (b, 6) each; and why those of the sample are undefined.

    Only the first CALIBRATION_REPLICATES of the replicates are computed.
    """
    fits = [
        Recalibration(truth, probabilities, sample.codes, sample.n_patients)
        for truth, probabilities in zip(sample.truth.T, sample.probabilities.T, strict=True)
    ]
    fewer = min(replicates, CALIBRATION_REPLICATES)
    draws = intervals.draw(sample.n_patients, fewer, len(LABELS) * len(sample), rng)
    once = _calibration(fits, _once(sample))
    reasons = {
        metric: tuple(
            fit.why_undefined(metric, sample.level) if np.isnan(value) else ""
            for fit, value in zip(fits, once[metric][0], strict=True)
        )
        for metric in CALIBRATION
    }
    return once, _in_threads(partial(_calibration, fits), draws), reasons


def _once(sample: Sample) -> NDArray[np.int32]:
    return np.ones((1, sample.n_patients), np.int32)


def _in_threads(compute: partial[dict[str, Floats]], draws: Iterator[NDArray[np.int32]]) -> dict[str, Floats]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return intervals.concatenate(list(pool.map(compute, draws)))


def _calibration(fits: list[Recalibration], multiplicities: NDArray[np.int32]) -> dict[str, Floats]:
    fitted = zip(*(fit.fit(multiplicities) for fit in fits), strict=True)
    return {metric: np.stack(columns, axis=1) for metric, columns in zip(CALIBRATION, fitted, strict=True)}


@dataclass(frozen=True)
class _Prepared:
    """What does not change from replicate to replicate: sums per patient, and each column sorted once."""

    slices: Floats  # (patients,)
    outcomes: Confusion  # four (patients, 6)
    losses: Floats  # (patients, 6)
    squares: Floats  # (patients, 6)
    gaps: tuple[Floats, ...]  # (patients, bins) of the six labels, then of all of them pooled
    exact: Floats  # (patients,)
    rankings: tuple[Ranking, ...]  # in the same order
    groups: tuple[NDArray[np.intp], ...]  # patients of each ranking's slices

    @classmethod
    def of(cls, sample: Sample) -> "_Prepared":
        truth, probabilities, sums = sample.truth, sample.probabilities, sample.by_patient
        columns = [*zip(truth.T, probabilities.T, strict=True), (truth.ravel(), probabilities.ravel())]
        groups = (*(sample.codes for _ in LABELS), np.repeat(sample.codes, len(LABELS)))
        return cls(
            slices=sums(np.ones((len(sample), 1)))[:, 0],
            outcomes=Confusion(*(sums(each) for each in metrics.outcomes(truth, sample.decisions))),
            losses=sums(metrics.log_losses(truth, probabilities)),
            squares=sums(probability_metrics.squared_errors(truth, probabilities)),
            gaps=tuple(
                probability_metrics.gaps(*column, patients, sample.n_patients)
                for column, patients in zip(columns, groups, strict=True)
            ),
            exact=sums((truth == sample.decisions).all(axis=1, keepdims=True))[:, 0],
            rankings=tuple(metrics.rank(*column) for column in columns),
            groups=groups,
        )


def _statistics(prepared: _Prepared, multiplicities: NDArray[np.int32]) -> dict[str, Floats]:
    """Every metric under weights (b, patients)."""
    weights = multiplicities.astype(np.float64)
    slices = weights @ prepared.slices
    counts = Confusion(*(with_total(weights @ which) for which in prepared.outcomes))
    positives = (counts.tp + counts.fn)[:, :-1]
    pooled = dict(metrics.ratios(counts))
    pooled |= zip(metrics.RANKINGS, _ranked(prepared, multiplicities), strict=True)
    for name, sums in (("log_loss", prepared.losses), ("brier", prepared.squares)):
        labels = weights @ sums / slices[:, None]
        pooled[name] = np.column_stack([labels, labels.mean(axis=1)])
    pooled["ece"] = _calibration_errors(prepared, weights, slices)
    values = {name: _with_means(each[:, :-1], positives, each[:, -1]) for name, each in pooled.items()}
    values["weighted_log_loss"] = metrics.weighted_log_loss(pooled["log_loss"][:, :-1])
    values["exact_match"] = weights @ prepared.exact / slices
    return values


def _ranked(prepared: _Prepared, multiplicities: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """AUROC and average precision, each (b, 7): the labels, then all of them pooled."""
    pairs = [
        metrics.auroc_and_average_precision(ranking, multiplicities, groups)
        for ranking, groups in zip(prepared.rankings, prepared.groups, strict=True)
    ]
    return np.stack([pair[0] for pair in pairs], axis=1), np.stack([pair[1] for pair in pairs], axis=1)


def _calibration_errors(prepared: _Prepared, weights: Floats, slices: Floats) -> Floats:
    """ECE (b, 7); the bins are those of the sample."""
    totals = [slices] * len(LABELS) + [slices * len(LABELS)]
    columns = [
        probability_metrics.expected_calibration_error(weights @ gaps, total)
        for gaps, total in zip(prepared.gaps, totals, strict=True)
    ]
    return np.stack(columns, axis=1)


def _with_means(labels: Floats, positives: Floats, micro: Floats) -> Floats:
    """(b, 6), (b, 6) and (b,) -> (b, 9) as in COLUMNS.

    A mean over labels of which one is undefined is undefined; but a label without positives weighs nothing in the
    weighted mean, and does not matter there.
    """
    weighted = metrics.divide(np.where(positives > 0, labels * positives, 0).sum(axis=1), positives.sum(axis=1))
    return np.column_stack([labels, labels.mean(axis=1), weighted, micro])
