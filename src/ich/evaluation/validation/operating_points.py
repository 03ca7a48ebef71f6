"""Where a probability becomes a decision. Every choice is made on validation data only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ich.calibration import RULES, Rule, Threshold
from ich.labels import LABELS, SUBTYPES

FALLBACK = 0.5
GOAL = 0.95  # of the rules `sensitivity` and `specificity`
_IN_WORDS: dict[Rule, str] = {
    "youden": "Youden",
    "sensitivity": f"the largest with sensitivity >= {GOAL}",
    "specificity": f"the smallest with specificity >= {GOAL}",
    "f1": "maximum F1",
}


def choose(
    truth: NDArray[np.bool_], probabilities: NDArray[np.floating], unit: str = "slice"
) -> dict[Rule, tuple[Threshold, ...]]:
    """Thresholds of every rule, in label order, from validation data.

    `youden` has the largest sensitivity + specificity - 1 (Youden, Cancer 1950;3:32), `f1` the largest F1 (of equals,
    the highest threshold); `sensitivity` is the largest threshold with a sensitivity of at least 0.95, `specificity`
    the smallest with a specificity of at least 0.95. Each is one of the probabilities; a unit is called positive where
    its probability is at least the threshold. Of a label of one class only, it is 0.5, and `source` says why.

    Args:
        truth: (n, 6) validation labels.
        probabilities: (n, 6) in [0, 1].
        unit: what a row is, e.g. series, for the words of `source`.
    """
    columns = list(zip(truth.T, probabilities.T, strict=True))
    return {rule: tuple(_choose(rule, *column, unit) for column in columns) for rule in RULES}


def _choose(rule: Rule, truth: NDArray[np.bool_], probabilities: NDArray[np.floating], unit: str) -> Threshold:
    if truth.all() or not truth.any():
        lacking = "positive" if not truth.any() else "negative"
        reason = f"a fixed {FALLBACK}, as validation holds no {lacking} {unit}"
        return _counted(FALLBACK, reason, truth, probabilities)
    candidates, found = np.unique(probabilities, return_inverse=True)
    tp = _at_least(np.bincount(found[truth], minlength=len(candidates)))
    fp = _at_least(np.bincount(found[~truth], minlength=len(candidates)))
    index = _RULES[rule](tp, fp)
    words = _IN_WORDS[rule]
    if rule == "specificity" and fp[index] > _allowed(fp[0]):
        words = f"the largest probability: none reaches specificity {GOAL}"
    return _counted(float(candidates[index]), f"validation ({words})", truth, probabilities)


def _youden(tp: NDArray[np.int64], fp: NDArray[np.int64]) -> int:
    return _last_largest(tp / tp[0] - fp / fp[0])


def _sensitive(tp: NDArray[np.int64], fp: NDArray[np.int64]) -> int:
    return int(np.flatnonzero(tp[0] - tp <= _allowed(tp[0]))[-1])


def _specific(tp: NDArray[np.int64], fp: NDArray[np.int64]) -> int:
    reached = np.flatnonzero(fp <= _allowed(fp[0]))
    return int(reached[0]) if len(reached) else len(fp) - 1


def _f1(tp: NDArray[np.int64], fp: NDArray[np.int64]) -> int:
    return _last_largest(2 * tp / (tp + fp + tp[0]))


# Index of the threshold, from true and false positives (k,) at each of k candidates in ascending order; the lowest
# calls everything positive, so the first counts are of all positives and of all negatives.
_RULES: dict[Rule, Callable[[NDArray[np.int64], NDArray[np.int64]], int]] = {
    "youden": _youden, "sensitivity": _sensitive, "specificity": _specific, "f1": _f1,
}  # fmt: skip


def _last_largest(values: NDArray[np.float64]) -> int:
    # Rounded: two equal sums of ratios may differ in the last bit, and which is larger would be chance.
    return len(values) - 1 - int(np.argmax(np.round(values, 12)[::-1]))


def _allowed(total: int) -> int:
    """Of so many, how many may be called wrongly; 1e-9: (1 - 0.95) * 100 is 5.000000000000004 in binary, or less."""
    return int((1 - GOAL) * total + 1e-9)


def _at_least(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts[::-1])[::-1]


def _counted(value: float, source: str, truth: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> Threshold:
    called = probabilities.astype(np.float64) >= value
    tp, positives, calls = int((truth & called).sum()), int(truth.sum()), int(called.sum())
    counts = {"tp": tp, "fp": calls - tp, "fn": positives - tp, "tn": len(truth) - calls - positives + tp}
    return Threshold(value=float(value), source=source, **counts)


def choose_gate_threshold(p_any: NDArray[np.floating], labels: NDArray[np.integer], max_missed: float) -> float:
    """The largest gate threshold that keeps the gate's misses within bounds, whatever the subtype.

    Args:
        p_any: (n,) P(any) of validation slices, in [0, 1].
        labels: (n, 6) 0 or 1, in label order.
        max_missed: share of each subtype's positives that may lie under the threshold, in [0, 1]. A rare subtype may
            therefore lose none: 1 % of 80 positives is no slice.

    Returns:
        t in [0, 1]; a slice goes on to stage 2 where its P(any) >= t. Where no subtype bounds it (nothing is positive,
        or all may be missed), 0 if there is no positive slice, else 1.
    """
    positives = [np.sort(p_any[labels[:, LABELS.index(subtype)] == 1]) for subtype in SUBTYPES]
    if not any(len(p) for p in positives):
        return 0.0
    # Misses are the k smallest P(any), so the next one up is the largest threshold. 1e-9: 0.29 * 100 < 29 in binary.
    allowed = [int(max_missed * len(p) + 1e-9) for p in positives]
    return min((float(p[k]) for p, k in zip(positives, allowed, strict=True) if k < len(p)), default=1.0)
