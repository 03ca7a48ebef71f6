"""Scores of the same slices compared, with a paired bootstrap over patients: two scores of a label, several models.

At the level of patients, where cases are independent, AUROCs are compared by DeLong's test, too.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.errors import DataError
from ich.evaluation.statistics import delong, intervals, levels, metrics, results
from ich.evaluation.statistics.results import COLUMNS, Estimate
from ich.labels import LABELS
from ich.level_names import Level

# What models are compared by: a name for people, and the metric and column of `ich.evaluation.statistics.results`.
MODEL_FIGURES: dict[str, tuple[str, int | None]] = {
    "any AUROC": ("auroc", COLUMNS.index("any")),
    "mean AUROC": ("auroc", COLUMNS.index("macro")),
    "weighted log loss": ("weighted_log_loss", None),
    "any Brier": ("brier", COLUMNS.index("any")),
}


class Comparison(NamedTuple):
    """AUROC of two scores and the first minus the second."""

    first: Estimate
    second: Estimate
    difference: Estimate


def compare_auroc(
    truth: NDArray[np.bool_],
    scores: tuple[NDArray[np.floating], NDArray[np.floating]],
    patients: NDArray[np.str_],
    replicates: int,
    rng: np.random.Generator,
    level: Level = "slice",
) -> Comparison:
    """Compare two scores of one label; every replicate draws the same patients for both.

    Args:
        truth: (n,) bool.
        scores: two arrays (n,), in any unit.
        patients: (n,) names.
        replicates: 0 gives no intervals.
        rng: of the bootstrap.
        level: what a row is, for the reasons.
    """
    if truth.all() or not truth.any():
        lacking = level if not len(truth) else f"{'negative' if truth.any() else 'positive'} {level}"
        undefined = Estimate(float("nan"), reason=f"no {lacking}")
        return Comparison(undefined, undefined, undefined)
    groups, n_patients = intervals.patient_codes(patients)
    rankings = [metrics.rank(truth, score) for score in scores]
    draws = intervals.draw(n_patients, replicates, len(truth), rng)
    once = _aurocs(rankings, np.ones((1, n_patients), np.int32), groups)[:, 0]
    drawn = np.concatenate([np.empty((2, 0)), *(_aurocs(rankings, weights, groups) for weights in draws)], axis=1)
    columns = [(once[0], drawn[0]), (once[1], drawn[1]), (once[0] - once[1], drawn[0] - drawn[1])]
    return Comparison(*(Estimate(float(value), *intervals.percentile_interval(each)) for value, each in columns))


def _aurocs(rankings: list[metrics.Ranking], weights: NDArray[np.integer], groups: NDArray[np.intp]) -> metrics.Floats:
    """(2, replicates)"""
    return np.stack([metrics.auroc_and_average_precision(ranking, weights, groups)[0] for ranking in rankings])


class ModelFigures(NamedTuple):
    """Of one model: its figures by name, and these less the first model's; no differences for the first itself.

    `by_patient` is its AUROC of any by patient less the first model's, by DeLong's test.
    """

    figures: dict[str, Estimate]
    differences: dict[str, Estimate]
    by_patient: delong.Difference | None = None


def compare_models(
    samples: Sequence[results.Sample], replicates: int, rng: Callable[[], np.random.Generator]
) -> list[ModelFigures]:
    """Compare models by MODEL_FIGURES on the same slices; every replicate draws the same patients for all.

    Args:
        samples: of each model, the same slices in the same order; decisions are not used.
        replicates: 0 gives no intervals.
        rng: gives a generator in the same state each time.
    """
    values, drawn = [], []
    classes = [len(np.unique(column)) for column in samples[0].truth.T]
    one_sided = ", ".join(label for label, count in zip(LABELS, classes, strict=True) if count < 2)
    for sample in samples:
        once, replicated = results.replicate_statistics(sample, replicates, rng())
        values.append({name: float(_column(once, name)[0]) for name in MODEL_FIGURES})
        drawn.append({name: _column(replicated, name) for name in MODEL_FIGURES})
    return [
        ModelFigures(
            {name: _estimate(value[name], each[name], one_sided) for name in MODEL_FIGURES},
            {
                name: _estimate(value[name] - values[0][name], each[name] - drawn[0][name], one_sided)
                for name in (MODEL_FIGURES if number else ())
            },
            delong_by_patient(samples[number], samples[0])["any"] if number else None,
        )
        for number, (value, each) in enumerate(zip(values, drawn, strict=True))
    ]


def _column(statistics: dict[str, metrics.Floats], name: str) -> metrics.Floats:
    metric, column = MODEL_FIGURES[name]
    if not statistics:
        return np.empty(0)
    return statistics[metric] if column is None else statistics[metric][:, column]


def _estimate(value: float, drawn: metrics.Floats, one_sided: str) -> Estimate:
    if np.isnan(value):
        return Estimate(float("nan"), reason=f"positives only, or none, of {one_sided}")
    return Estimate(value, *intervals.percentile_interval(drawn))


# By what two systems are compared, label by label; of each, a difference under 0 or over 0 is not always the better.
COMPARED = ("auroc", "log_loss", "brier")


class SampleDifferences(NamedTuple):
    """The first sample's figures less the second's.

    Attributes:
        labels: label -> metric of COMPARED -> difference.
        weighted_log_loss: the difference of the competition's score.
        by_patient: label -> the difference of AUROCs by patient, by DeLong's test.
    """

    labels: dict[str, dict[str, Estimate]]
    weighted_log_loss: Estimate
    by_patient: dict[str, delong.Difference]

    def as_json(self) -> dict[str, Any]:
        """With null for NaN, which JSON does not have."""
        return {
            "labels": {
                label: {name: figure.as_json() for name, figure in row.items()} for label, row in self.labels.items()
            },
            "weighted_log_loss": self.weighted_log_loss.as_json(),
            "by_patient": {label: each.as_json() for label, each in self.by_patient.items()},
        }


def compare_samples(
    first: results.Sample, second: results.Sample, replicates: int, rng: np.random.Generator
) -> SampleDifferences:
    """Compare two systems on the same slices; every replicate draws the same patients for both.

    Args:
        first, second: the same rows in the same order; decisions are not used.
        replicates: 0 gives no intervals by bootstrap.
        rng: of the bootstrap.

    Raises:
        DataError: the rows are not the same.
    """
    pairs = [results.replicate_statistics(each, replicates, copy.deepcopy(rng)) for each in (first, second)]
    by_patient = delong_by_patient(first, second)
    points, drawn = (
        {name: each[name] - other[name] for name in each} for each, other in zip(*pairs, strict=True)
    )  # fmt: skip
    counts = [metrics.Confusion(*each) for each in zip(*first.counts, strict=True)]
    labels: dict[str, dict[str, Estimate]] = {
        label: {
            metric: results.estimate(
                points[metric][0, column],
                drawn[metric][:, column] if drawn else np.empty(0),
                metrics.why_undefined(metric, counts[column], first.level),
            )
            for metric in COMPARED
        }
        for column, label in enumerate(LABELS)
    }
    replicated = drawn.get("weighted_log_loss", np.empty(0))
    return SampleDifferences(labels, results.estimate(points["weighted_log_loss"][0], replicated, ""), by_patient)


def delong_by_patient(first: results.Sample, second: results.Sample) -> dict[str, delong.Difference]:
    """AUROC of each label by patient (positive if any row is, the largest probability), first less second.

    Raises:
        DataError: the rows of the two are not the same.
    """
    pair = (first, second)
    if not all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("truth", "patients")):
        raise DataError(
            f"two systems are compared on the same rows: {len(first)} and {len(second)} differ in labels, patients or "
            "order; give both the same ids"
        )
    one, other = (levels.aggregate(each.truth, each.probabilities, each.patients, each.patients) for each in pair)
    return {
        label: delong.compare(
            one.truth[:, column], one.probabilities[:, column], other.probabilities[:, column], one.patients
        )
        for column, label in enumerate(LABELS)
    }
