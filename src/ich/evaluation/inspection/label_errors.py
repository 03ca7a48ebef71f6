"""Likely label errors by confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021), each label by itself.

A slice is confidently in a class if its probability of that class is at least the mean that slices labelled so have.
Slices that are confidently in the class they are not labelled as are candidates, to be looked at and not to be
corrected unseen. The probabilities must be of slices that were held out from training; a model that ranks badly, or
makes the same errors as its labels, finds the wrong ones. Of 20,000 made-up labels, a tenth positive and 1 % of them
flipped, 99 % of the candidates were flipped, and 78 % of the flipped were candidates (tests/evaluation).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.labels import LABELS


@dataclass(frozen=True)
class LabelErrors:
    """Candidates of one label.

    Attributes:
        reason: why there are none, where the method cannot be used; else empty.
        thresholds: mean P(negative) of slices labelled negative, and mean P(positive) of those labelled positive.
        joint: (2, 2) confident joint: slices labelled so (rows) and confidently in (columns) negative, positive.
        estimated: number of slices labelled negative that are positive, and labelled positive that are negative: the
            joint, each row scaled to the count of its label, as the paper calibrates it.
        rows: (k,) candidates, most suspicious first.
        margins: (k,) P(label as given) less P(the other), in [-1, 1]; ascending.
    """

    reason: str
    thresholds: tuple[float, float]
    joint: NDArray[np.int64]
    estimated: tuple[float, float]
    rows: NDArray[np.intp]
    margins: NDArray[np.float64]


def find(truth: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> LabelErrors:
    """Candidates of one label.

    Args:
        truth: (n,) labels as given.
        probabilities: (n,) in [0, 1], held out, calibrated at best.
    """
    p = np.asarray(probabilities, np.float64)
    if reason := _why_not(truth, p):
        nothing = np.empty(0)
        return LabelErrors(reason, (np.nan, np.nan), np.zeros((2, 2), np.int64), (np.nan, np.nan),
                           nothing.astype(np.intp), nothing)  # fmt: skip
    of_class = np.column_stack([1 - p, p])
    given = truth.astype(np.intp)
    # A mean of equal values can be rounded to above them all.
    thresholds = np.array([min(of.mean(), of.max()) for of in (of_class[~truth, 0], of_class[truth, 1])])
    # Nothing is confidently in both: the mean P(positive) of negatives would have to be at least that of positives.
    confident = of_class >= thresholds
    joint = np.array([confident[~truth].sum(axis=0), confident[truth].sum(axis=0)])
    everyone, other = np.arange(len(p)), 1 - given
    margins = of_class[everyone, given] - of_class[everyone, other]
    labelled = np.bincount(given, minlength=2)
    rates = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1)
    candidates = np.flatnonzero(confident[everyone, other])
    candidates = candidates[np.argsort(margins[candidates], kind="stable")]
    estimated = float(rates[0, 1] * labelled[0]), float(rates[1, 0] * labelled[1])
    return LabelErrors("", (float(thresholds[0]), float(thresholds[1])), joint, estimated, candidates,
                       margins[candidates])  # fmt: skip


def _why_not(truth: NDArray[np.bool_], p: NDArray[np.float64]) -> str:
    if not len(truth):
        return "no slice"
    if truth.all() or not truth.any():
        return f"no {'negative' if truth.all() else 'positive'} slice"
    if np.mean(p[truth]) <= np.mean(p[~truth]) + 1e-12:
        return "the mean probability of positive slices is not above that of negative ones"
    return ""


def summarise(truth: NDArray[np.bool_], probabilities: NDArray[np.floating], number: int) -> dict[str, Any]:
    """Candidates of all labels, JSON-able.

    Args:
        truth, probabilities: (n, 6).
        number: of candidates that are listed, of each label.

    Returns:
        Of each label: `reason`, `slices`, `positives`, `candidates` (how many), `thresholds` and `estimated` by
        `negative` and `positive` as labelled (null without candidates for a reason), `confident_joint`, and `listed`:
        of each `row`, `labelled` (bool), `probability` and `margin`, most suspicious first.
    """
    content: dict[str, Any] = {}
    for column, label in enumerate(LABELS):
        found = find(truth[:, column], probabilities[:, column])
        content[label] = {
            "reason": found.reason,
            "slices": len(truth),
            "positives": int(truth[:, column].sum()),
            "candidates": len(found.rows),
            "thresholds": _by_class(found.thresholds, found.reason),
            "estimated": _by_class(found.estimated, found.reason),
            "confident_joint": found.joint.tolist(),
            "listed": [
                {
                    "row": int(row), "labelled": bool(truth[row, column]),
                    "probability": float(probabilities[row, column]), "margin": float(margin),
                }
                for row, margin in zip(found.rows[:number], found.margins[:number], strict=True)
            ],
        }  # fmt: skip
    return content


def _by_class(pair: tuple[float, float], reason: str) -> dict[str, float | None]:
    return dict.fromkeys(("negative", "positive")) if reason else {"negative": pair[0], "positive": pair[1]}
