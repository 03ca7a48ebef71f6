"""Decision thresholds: one a label, fixed by the config or chosen on validation data, never on test data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from ich.config import Evaluate
from ich.labels import LABELS

FALLBACK = 0.5


@dataclass(frozen=True)
class Threshold:
    """A slice is called positive where its probability is at least `value`; `source` says where that comes from."""

    value: float
    source: str


def youden(truth: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> float:
    """Threshold with the largest sensitivity + specificity - 1 (Youden, Cancer 1950;3:32); of equals, the highest.

    Args:
        truth: (n,)
        probabilities: (n,) in [0, 1].

    Returns:
        One of the probabilities; NaN where `truth` holds one class only.
    """
    if truth.all() or not truth.any():
        return float("nan")
    false_positive_rate, sensitivity, candidates = roc_curve(truth, probabilities, drop_intermediate=False)
    # Rounded: two equal sums of ratios may differ in the last bit, and which is larger would be chance.
    index = np.round(sensitivity - false_positive_rate, 12)[1:]  # the first candidate is infinity: nothing is called
    return float(candidates[1:][np.argmax(index)])


def choose(config: Evaluate, truth: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> tuple[Threshold, ...]:
    """The six thresholds, in label order, from validation data.

    Args:
        config: `evaluate.threshold` is a number, or `youden`.
        truth: (n, 6) validation labels.
        probabilities: (n, 6) validation probabilities.
    """
    if config.threshold != "youden":
        return tuple(Threshold(float(config.threshold), "the config") for _ in LABELS)
    return tuple(_youden_or_fallback(truth[:, column], probabilities[:, column]) for column in range(len(LABELS)))


def _youden_or_fallback(truth: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> Threshold:
    value = youden(truth, probabilities)
    if np.isnan(value):
        lacking = "positive" if not truth.any() else "negative"
        return Threshold(FALLBACK, f"a fixed {FALLBACK}, as validation holds no {lacking} slice")
    return Threshold(value, "validation (Youden)")
