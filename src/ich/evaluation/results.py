"""All figures of one split at one level: point estimates, 95 % intervals, and the reason where one is undefined.

A `Sample` is the only input: labels, probabilities, decisions, patients. It is slices today; series and patients can
be handed in the same way. The point estimate is the statistic of one replicate in which every patient counts once.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.evaluation import intervals, metrics
from ich.evaluation.metrics import Confusion, Floats, Ranking
from ich.labels import LABELS

COLUMNS = (*LABELS, "macro", "micro")  # macro: mean of the six labels; micro: their decisions pooled
OVERALL = "all labels"
METRICS = (*metrics.RANKINGS, *metrics.RATIOS, "log_loss")
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


@dataclass(frozen=True)
class Sample:
    """What is evaluated.

    Attributes:
        truth: (n, 6) bool, in label order.
        probabilities: (n, 6) in [0, 1].
        decisions: (n, 6) bool.
        patients: (n,) names; the unit of the bootstrap.
    """

    truth: NDArray[np.bool_]
    probabilities: NDArray[np.floating]
    decisions: NDArray[np.bool_]
    patients: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.truth)

    @functools.cached_property
    def codes(self) -> NDArray[np.intp]:
        """(n,) patients as integers from 0."""
        return intervals.patient_codes(self.patients)[0]

    @functools.cached_property
    def n_patients(self) -> int:
        """Number of patients."""
        return intervals.patient_codes(self.patients)[1]

    @functools.cached_property
    def positive_patients(self) -> NDArray[np.int64]:
        """(6,) patients with at least one positive slice."""
        return (self.by_patient(self.truth) > 0).sum(axis=0)

    @functools.cached_property
    def counts(self) -> Confusion:
        """Counts of the six labels and, last, of their sum; arrays (7,)."""
        return Confusion(*(_with_total(which) for which in metrics.confusion(self.truth, self.decisions)))

    def by_patient(self, values: NDArray[Any]) -> Floats:
        """Sum of (n, columns) over each patient's slices: (patients, columns)."""
        sums = np.zeros((self.n_patients, values.shape[1]))
        np.add.at(sums, self.codes, values)
        return sums


def estimates(sample: Sample, replicates: int, rng: np.random.Generator) -> Estimates:
    """Every metric of every column, by column name and metric name; `all labels` holds those of the six together.

    Args:
        sample: at least one slice.
        replicates: bootstrap replicates over patients; 0 gives no intervals.
        rng: of the bootstrap.
    """
    points, chunks = replicate_statistics(sample, replicates, rng)
    table: Estimates = {column: {} for column in (*COLUMNS, OVERALL)}
    for metric in METRICS:
        for index, column in enumerate(COLUMNS):
            value, drawn = points[metric][0, index], chunks[metric][:, index] if chunks else np.empty(0)
            table[column][metric] = _estimate(value, drawn, _reason(sample, metric, column))
    for metric in OVERALL_METRICS:
        table[OVERALL][metric] = _estimate(points[metric][0], chunks[metric] if chunks else np.empty(0), "")
    return table


def replicate_statistics(
    sample: Sample, replicates: int, rng: np.random.Generator
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Statistics of the sample itself, leading axis 1, and of the replicates; see `_statistics` for the shapes."""
    prepared = _Prepared.of(sample)
    everyone_once = np.ones((1, sample.n_patients), np.int32)
    draws = intervals.draw(sample.n_patients, replicates, len(LABELS) * len(sample), rng)
    drawn = [_statistics(prepared, multiplicities) for multiplicities in draws]
    return _statistics(prepared, everyone_once), intervals.concatenate(drawn)


@dataclass(frozen=True)
class _Prepared:
    """What does not change from replicate to replicate: sums per patient, and each column sorted once."""

    slices: Floats  # (patients,)
    outcomes: Confusion  # four (patients, 6)
    losses: Floats  # (patients, 6)
    exact: Floats  # (patients,)
    rankings: tuple[Ranking, ...]  # six labels, then all of them pooled
    groups: tuple[NDArray[np.intp], ...]  # patients of each ranking's slices

    @classmethod
    def of(cls, sample: Sample) -> "_Prepared":
        which = metrics.outcomes(sample.truth, sample.decisions)
        pooled = metrics.rank(sample.truth.ravel(), sample.probabilities.ravel())
        columns = zip(sample.truth.T, sample.probabilities.T, strict=True)
        return cls(
            slices=sample.by_patient(np.ones((len(sample), 1)))[:, 0],
            outcomes=Confusion(*(sample.by_patient(each) for each in which)),
            losses=sample.by_patient(metrics.log_losses(sample.truth, sample.probabilities)),
            exact=sample.by_patient((sample.truth == sample.decisions).all(axis=1, keepdims=True))[:, 0],
            rankings=(*(metrics.rank(truth, scores) for truth, scores in columns), pooled),
            groups=(*(sample.codes for _ in LABELS), np.repeat(sample.codes, len(LABELS))),
        )


def _statistics(prepared: _Prepared, multiplicities: NDArray[np.int32]) -> dict[str, Floats]:
    """Every metric under weights (b, patients): METRICS -> (b, columns), OVERALL_METRICS -> (b,)."""
    weights = multiplicities.astype(np.float64)
    slices = weights @ prepared.slices
    label_counts = Confusion(*(weights @ which for which in prepared.outcomes))
    label_losses = weights @ prepared.losses / slices[:, None]
    values = {
        name: _with_macro(each[:, :-1], each[:, -1])
        for name, each in metrics.ratios(Confusion(*(_with_total(which) for which in label_counts))).items()
    }
    for name, each in zip(metrics.RANKINGS, _ranked(prepared, multiplicities), strict=True):
        values[name] = _with_macro(each[:, :-1], each[:, -1])
    values["log_loss"] = _with_macro(label_losses, label_losses.mean(axis=1))
    values["weighted_log_loss"] = metrics.weighted_log_loss(label_losses)
    values["exact_match"] = weights @ prepared.exact / slices
    return values


def _ranked(prepared: _Prepared, multiplicities: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """AUROC and average precision, each (b, 7): the labels, then all of them pooled."""
    pairs = [
        metrics.auroc_and_average_precision(ranking, multiplicities, groups)
        for ranking, groups in zip(prepared.rankings, prepared.groups, strict=True)
    ]
    return np.stack([pair[0] for pair in pairs], axis=1), np.stack([pair[1] for pair in pairs], axis=1)


def _with_total(labels: NDArray[Any]) -> NDArray[Any]:
    """(..., 6) -> (..., 7), the sum last."""
    return np.concatenate([labels, labels.sum(axis=-1, keepdims=True)], axis=-1)


def _with_macro(labels: Floats, micro: Floats) -> Floats:
    """(b, 6) and (b,) -> (b, 8) as in COLUMNS. A mean over labels of which one is undefined is undefined."""
    return np.column_stack([labels, labels.mean(axis=1), micro])


def _estimate(value: float, drawn: Floats, reason: str) -> Estimate:
    if np.isnan(value):
        return Estimate(float("nan"), reason=reason)
    return Estimate(float(value), *intervals.percentile_interval(drawn))


def _reason(sample: Sample, metric: str, column: str) -> str:
    """Why a metric of one column is undefined; empty where it is defined."""
    reasons = [metrics.why_undefined(metric, Confusion(*each)) for each in zip(*sample.counts, strict=True)]
    if column == "macro":
        lacking = [f"{label}: {why}" for label, why in zip(LABELS, reasons[:-1], strict=True) if why]
        return "; ".join(lacking)
    return reasons[-1] if column == "micro" else reasons[COLUMNS.index(column)]


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
