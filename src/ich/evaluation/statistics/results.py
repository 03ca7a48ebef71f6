"""All figures of one split at one level: point estimates, 95 % intervals, and the reason where one is undefined.

A `Sample` is the only input. The point estimate is the statistic of one replicate in which every patient counts once.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics import intervals, metrics, proportions
from ich.evaluation.statistics.metrics import Confusion, Floats
from ich.evaluation.statistics.replicates import CALIBRATION, COLUMNS, calibration_statistics, replicate_statistics
from ich.evaluation.statistics.sample import Level, Sample
from ich.labels import LABELS

OVERALL = "all labels"
METRICS = (*metrics.RANKINGS, *metrics.RATIOS, "log_loss", "brier", "ece", *CALIBRATION)
Estimates = dict[str, dict[str, "Estimate"]]  # column, metric
OVERALL_METRICS = ("weighted_log_loss", "exact_match")


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN comes with a reason."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """With null for NaN, which JSON does not have."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: number if np.isfinite(number) else None for name, number in numbers.items()} | {
            "reason": self.reason
        }


def estimates(sample: Sample, replicates: int, rng: np.random.Generator) -> Estimates:
    """Every metric of every column, by column name and metric name; `all labels` holds those of the six together.

    Args:
        sample: at least one row.
        replicates: bootstrap replicates over patients; 0 gives no intervals. Calibration slope and intercept use the
            first 200 of them.
        rng: of the bootstrap.
    """
    fitted, refitted, unfitted = calibration_statistics(sample, replicates, copy.deepcopy(rng))
    points, chunks = replicate_statistics(sample, replicates, rng)
    which = metrics.outcomes(sample.truth, sample.decisions)
    table: Estimates = {column: {} for column in (*COLUMNS, OVERALL)}
    for metric in METRICS:
        for index, column in enumerate(COLUMNS):
            if metric not in CALIBRATION:
                found = _estimate(points, chunks, metric, index, _reason(sample, metric, column))
                if metric in proportions.PARTS and column in LABELS and chunks and not np.isnan(found.value):
                    of_label = Confusion(*(each[:, index] for each in which))
                    ends = proportions.interval(metric, of_label, sample.codes, chunks[metric][:, index])
                    found = Estimate(found.value, *ends)
                table[column][metric] = found
            elif column in LABELS:
                table[column][metric] = _estimate(fitted, refitted, metric, index, unfitted[metric][index])
            else:
                table[column][metric] = Estimate(float("nan"), reason="each label has its own: no mean over labels")
    for metric in OVERALL_METRICS:
        table[OVERALL][metric] = _estimate(points, chunks, metric, None, "")
    return table


def _estimate(
    points: dict[str, Floats], replicates: dict[str, Floats], metric: str, index: int | None, reason: str
) -> Estimate:
    """One column of (b, columns) statistics, or all of (b,)."""
    column = (slice(None), index) if index is not None else slice(None)
    return estimate(points[metric][column][0], replicates[metric][column] if replicates else np.empty(0), reason)


def estimate(value: float, drawn: Floats, reason: str) -> Estimate:
    """A point estimate with the percentile interval of its replicates (b,); `reason` is why it is NaN, if it is."""
    if np.isnan(value):
        return Estimate(float("nan"), reason=reason)
    return Estimate(float(value), *intervals.percentile_interval(drawn))


def _reason(sample: Sample, metric: str, column: str) -> str:
    """Why a metric of one column is undefined; empty where it is defined."""
    reasons = [
        metrics.why_undefined(metric, Confusion(*each), sample.level) for each in zip(*sample.counts, strict=True)
    ]
    if column not in ("macro", "weighted"):
        return reasons[-1] if column == "micro" else reasons[COLUMNS.index(column)]
    if column == "weighted" and not sample.truth.any():
        return f"no positive {sample.level}"
    counted = np.asarray(sample.truth.any(axis=0) | (column == "macro"))  # a label without positives weighs nothing
    return "; ".join(
        f"{label}: {why}"
        for label, why, counts in zip(LABELS, reasons[:-1], counted.tolist(), strict=True)
        if why and counts
    )


class Ratios(NamedTuple):
    """Of one column of decisions: its counts (tp, fp, tn, fn) and the six ratios, by name."""

    counts: dict[str, int]
    figures: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Counts and figures side by side."""
        return {**self.counts, **{name: figure.as_json() for name, figure in self.figures.items()}}


def ratio_estimates(
    truth: NDArray[np.bool_],
    decisions: NDArray[np.bool_],
    patients: NDArray[np.str_],
    replicates: int,
    rng: np.random.Generator,
    level: Level = "slice",
) -> list[Ratios]:
    """Accuracy, sensitivity, specificity, PPV, NPV and F1 of many columns of decisions at once.

    Args:
        truth: (n, k), e.g. a label once for each rule by which thresholds are chosen.
        decisions: (n, k)
        patients: (n,) names.
        replicates: bootstrap replicates over patients, the same for all columns; 0 gives no intervals.
        rng: of the bootstrap.
        level: what a row is, for the reasons.

    Returns:
        k of them, in the columns' order.
    """
    codes, n_patients = intervals.patient_codes(patients)
    which = metrics.outcomes(truth, decisions)
    sums = [intervals.sum_by_patient(each, codes, n_patients) for each in which]
    draws = intervals.draw(n_patients, replicates, n_patients, rng)
    points = metrics.ratios(Confusion(*(each.sum(axis=0) for each in sums)))
    drawn = intervals.concatenate([metrics.ratios(Confusion(*(chunk @ each for each in sums))) for chunk in draws])
    found = []
    for column, counts in enumerate(zip(*metrics.confusion(truth, decisions), strict=True)):
        outcome = Confusion(*counts)
        of_column = Confusion(*(each[:, column] for each in which))
        figures = {}
        for name, value in points.items():
            replicated = drawn[name][:, column] if drawn else np.empty(0)
            why = metrics.why_undefined(name, outcome, level)
            figures[name] = estimate(float(value[column]), replicated, why)
            if name in proportions.PARTS and not why:
                ends = proportions.interval(name, of_column, codes, replicated)
                figures[name] = Estimate(float(value[column]), *ends)
        found.append(Ratios({name: int(count) for name, count in outcome._asdict().items()}, figures))
    return found


def mean_estimates(
    values: Floats, patients: NDArray[np.str_], replicates: int, rng: np.random.Generator
) -> list[Estimate]:
    """Means over rows, e.g. of log losses.

    Args:
        values: (n, k), at least one row.
        patients: (n,) names.
        replicates: bootstrap replicates over patients, the same for all columns; 0 gives no intervals.
        rng: of the bootstrap.

    Returns:
        k of them, in the columns' order.
    """
    codes, n_patients = intervals.patient_codes(patients)
    sums = intervals.sum_by_patient(values, codes, n_patients)
    rows = np.bincount(codes, minlength=n_patients)
    draws = intervals.draw(n_patients, replicates, n_patients, rng)
    drawn = np.concatenate([np.empty((0, values.shape[1])), *(w @ sums / (w @ rows)[:, None] for w in draws)])
    return [estimate(value, each, "") for value, each in zip(sums.sum(axis=0) / len(values), drawn.T, strict=True)]


def tidy_rows(split: str, level: str, sample: Sample, table: Estimates) -> Iterator[dict[str, Any]]:
    """One row a figure: split, level, label, metric, value, low, high, n, positives, reason; the four counts too."""
    totals = dict(zip((*LABELS, "micro"), (sample.counts.tp + sample.counts.fn).tolist(), strict=True))
    for column, figures in table.items():
        n = len(sample) * len(LABELS) if column == "micro" else len(sample)
        row = {"split": split, "level": level, "label": column}
        denominators = {"n": n, "positives": totals.get(column)}
        if column in totals:
            position = list(totals).index(column)
            for name, counts in zip(Confusion._fields, sample.counts, strict=True):
                empty = {"low": None, "high": None}
                yield row | {"metric": name, "value": float(counts[position])} | empty | denominators | {"reason": ""}
        for metric, figure in figures.items():
            yield row | {"metric": metric} | figure.as_json() | denominators
