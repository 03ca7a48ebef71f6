"""Scores of the same slices compared, with a paired bootstrap over patients: two scores of a label, several models."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.evaluation import intervals, metrics, results
from ich.evaluation.results import COLUMNS, Estimate
from ich.labels import LABELS

# What models are compared by: a name for people, and the metric and column of `ich.evaluation.results`.
MODEL_FIGURES: dict[str, tuple[str, int | None]] = {
    "any AUROC": ("auroc", COLUMNS.index("any")),
    "mean AUROC": ("auroc", COLUMNS.index("macro")),
    "weighted log loss": ("weighted_log_loss", None),
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
) -> Comparison:
    """Compare two scores of one label; every replicate draws the same patients for both.

    Args:
        truth: (n,) bool.
        scores: two arrays (n,), in any unit.
        patients: (n,) names.
        replicates: 0 gives no intervals.
        rng: of the bootstrap.
    """
    if truth.all() or not truth.any():
        lacking = "slice" if not len(truth) else "positive slice" if not truth.any() else "negative slice"
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
    """Of one model: its figures by name, and these less the first model's; no differences for the first itself."""

    figures: dict[str, Estimate]
    differences: dict[str, Estimate]


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
