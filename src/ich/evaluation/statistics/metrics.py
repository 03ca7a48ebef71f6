"""Metrics as pure functions of arrays, vectorised over labels and over bootstrap replicates.

Arrays end in an axis of columns (labels); a leading axis, where there is one, holds replicates. An undefined ratio is
NaN, never 0 or 1; `why_undefined` says why.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ich.labels import COMPETITION

Floats = NDArray[np.float64]

RATIOS = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1")
RANKINGS = ("auroc", "average_precision")
CLIP = 1e-15  # the competition clipped probabilities to [1e-15, 1 - 1e-15]
COMPETITION_WEIGHTS = np.array(COMPETITION, float)


class Confusion(NamedTuple):
    """Counts of true and false positives and negatives, in arrays of one shape."""

    tp: NDArray[Any]
    fp: NDArray[Any]
    tn: NDArray[Any]
    fn: NDArray[Any]


def outcomes(truth: NDArray[np.bool_], decisions: NDArray[np.bool_]) -> Confusion:
    """Which of the four each decision is: boolean arrays in the shape of `truth`; sum them to count."""
    return Confusion(truth & decisions, ~truth & decisions, ~truth & ~decisions, truth & ~decisions)


def confusion(truth: NDArray[np.bool_], decisions: NDArray[np.bool_]) -> Confusion:
    """Count outcomes over slices: (n, columns) -> four arrays (columns,)."""
    return Confusion(*(which.sum(axis=0) for which in outcomes(truth, decisions)))


def ratios(counts: Confusion) -> dict[str, Floats]:
    """Accuracy, sensitivity (recall), specificity, PPV (precision), NPV and F1, each in [0, 1].

    NaN where the denominator is 0. F1 is 2 TP / (2 TP + FP + FN): 0 where positives exist and none is found, but NaN
    where there are none to find.
    """
    tp, fp, tn, fn = counts
    return {
        "accuracy": divide(tp + tn, tp + fp + tn + fn),
        "sensitivity": divide(tp, tp + fn),
        "specificity": divide(tn, tn + fp),
        "ppv": divide(tp, tp + fp),
        "npv": divide(tn, tn + fn),
        "f1": divide(2 * tp, np.where(tp + fn > 0, 2 * tp + fp + fn, 0)),
    }


def log_losses(truth: NDArray[np.bool_], probabilities: ArrayLike) -> Floats:
    """Cross-entropy of each decision, nats, in the shape of `truth`; probabilities clipped to [1e-15, 1 - 1e-15]."""
    clipped = np.clip(np.asarray(probabilities, np.float64), CLIP, 1 - CLIP)
    return np.asarray(-np.log(np.where(truth, clipped, 1 - clipped)))


def weighted_log_loss(label_losses: Floats) -> Floats:
    """The competition's score from the six mean log losses, (..., 6) -> (...): any weighs 2, the others 1, over 7."""
    return np.asarray(label_losses @ COMPETITION_WEIGHTS / COMPETITION_WEIGHTS.sum())


@dataclass(frozen=True)
class Ranking:
    """Slices by descending score, and where each distinct score that a positive has begins and ends.

    Attributes:
        order: (n,) slice indices by descending score.
        positives: (p,) slice indices of the positives, in the same order.
        first, last: (k,) positions in `order`, half open, of the slices that share a score.
        first_positive, last_positive: (k,) the same in `positives`.
    """

    order: NDArray[np.intp]
    positives: NDArray[np.intp]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    first_positive: NDArray[np.intp]
    last_positive: NDArray[np.intp]


def rank(truth: NDArray[np.bool_], scores: ArrayLike) -> Ranking:
    """Sort one column once, for `auroc_and_average_precision` under any weights; (n,) and (n,)."""
    descending = -np.asarray(scores, np.float64)
    order = np.argsort(descending, kind="stable")
    ordered = descending[order]
    positives = order[truth[order]]
    ordered_positives = descending[positives]
    distinct = np.unique(ordered_positives)
    return Ranking(
        order,
        positives,
        np.searchsorted(ordered, distinct, "left"),
        np.searchsorted(ordered, distinct, "right"),
        np.searchsorted(ordered_positives, distinct, "left"),
        np.searchsorted(ordered_positives, distinct, "right"),
    )


def auroc_and_average_precision(
    ranking: Ranking, weights: NDArray[np.integer], groups: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Area under the ROC curve (ties count half) and average precision (no interpolation) of weighted slices.

    Args:
        ranking: of n slices.
        weights: (replicates, groups) how often each group counts.
        groups: (n,) the group of each slice.

    Returns:
        Two arrays (replicates,); NaN where the weighted slices hold one class only.
    """
    everyone = _running_total(weights, groups[ranking.order])
    found = _running_total(weights, groups[ranking.positives])
    tp_before, tp = found[:, ranking.first_positive], found[:, ranking.last_positive]
    called_before, called = everyone[:, ranking.first], everyone[:, ranking.last]
    gained = (tp - tp_before).astype(np.float64)
    positives = found[:, -1].astype(np.float64)
    negatives = everyone[:, -1] - positives
    false_positives = ((called - tp) + (called_before - tp_before)) / 2  # a tie is half right
    auroc = divide((gained * (negatives[:, None] - false_positives)).sum(axis=1), positives * negatives)
    precision = tp / np.maximum(called, 1)
    average_precision = divide((gained * precision).sum(axis=1), np.where(negatives > 0, positives, 0))
    return auroc, average_precision


def _running_total(weights: NDArray[np.integer], groups: NDArray[np.intp]) -> NDArray[np.int32]:
    """(replicates, n + 1): total weight of the first 0, 1, ... n slices. Integers: exact, and 3x faster than floats."""
    totals = np.zeros((len(weights), len(groups) + 1), np.int32)
    np.cumsum(np.take(weights, groups, axis=1), axis=1, out=totals[:, 1:])
    return totals


def auroc(truth: NDArray[np.bool_], scores: ArrayLike) -> float:
    """Area under the ROC curve of one column, (n,) and (n,); NaN if it holds one class only."""
    unweighted = np.ones((1, 1), np.int32), np.zeros(len(truth), np.intp)
    return float(auroc_and_average_precision(rank(truth, scores), *unweighted)[0][0])


def why_undefined(metric: str, counts: Confusion, level: str = "slice") -> str:
    """Why a metric of one column is NaN; empty where it is defined.

    Args:
        metric: its name.
        counts: one number each.
        level: what is counted: slice, series, patient or study.
    """
    tp, fp, tn, fn = (int(count) for count in counts)
    none_called, none_cleared = tp + fp == 0, tn + fn == 0
    no_positive, no_negative = tp + fn == 0, fp + tn == 0
    if no_positive and metric in (*RANKINGS, "sensitivity", "f1"):
        return f"no positive {level}"
    if no_negative and metric in (*RANKINGS, "specificity"):
        return f"no negative {level}"
    if none_called and metric == "ppv":
        return f"no {level} called positive"
    if none_cleared and metric == "npv":
        return f"no {level} called negative"
    return ""


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Quotient; NaN where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0)
