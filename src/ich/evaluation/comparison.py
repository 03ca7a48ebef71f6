"""Two scores of the same slices compared: AUROCs, and their difference with a paired bootstrap over patients."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.evaluation import intervals, metrics
from ich.evaluation.results import Estimate


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
