"""Binary cross-entropy of several labels, with weights of classes and labels, and its focal variant."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from ich.labels import COMPETITION

# The competition's metric: any weighs 2, the five subtypes 1, divided by 7 (in label order).
COMPETITION_WEIGHTS = np.array(COMPETITION, np.float32) / np.float32(sum(COMPETITION))

_EPSILON = 1e-7


def class_counts(targets: NDArray[np.integer], chances: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """How many negatives and positives of each label an epoch draws, on average.

    Args:
        targets: (n, k) 0 or 1.
        chances: (n,) of each slice in each of the n draws, with the sum 1; None: each slice comes once.

    Returns:
        (2, k): negatives (row 0) and positives (row 1).
    """
    frequencies = np.ones(len(targets)) if chances is None else len(targets) * chances
    return np.stack([frequencies @ (1 - targets), frequencies @ targets])


def balanced_class_weights(
    targets: NDArray[np.integer], chances: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Weights that give each label's positives and negatives the same total, like scikit-learn's `balanced`.

    What is balanced is what is drawn: where sampling has made a label's classes equally frequent, its weights are 1.

    Args:
        targets: (n, k) 0 or 1.
        chances: as in `class_counts`.

    Returns:
        (2, k): n / (2 n_class) for the negatives (row 0) and the positives (row 1); 1 for a label of one class only.
    """
    counts = class_counts(targets, chances)
    balanced = len(targets) / (2 * np.where(counts > 0, counts, 1))
    return np.where((counts > 0).all(axis=0), balanced, 1).astype(np.float32)


def binary_crossentropy(
    label_weights: NDArray[np.float32],
    class_weights: NDArray[np.float32] | None = None,
    focal_gamma: float = 0,
    functions: Any = ops,
    label_smoothing: float = 0,
) -> Callable[[Any, Any], Any]:
    """A loss, for `keras.Model.compile` or for arrays on the host.

    Args:
        label_weights: (k,) share of each label.
        class_weights: (2, k) factors of negatives and positives; None is 1 everywhere.
        focal_gamma: exponent g of (1 - p_t)^g, p_t the probability given to what is true (Lin et al., ICCV 2017,
            without their alpha); 0 is plain cross-entropy.
        functions: where clip, log and sum come from: `keras.ops`, or `numpy` for NumPy arrays (outside a compiled
            function, each of keras.ops is compiled by itself, for each shape).
        label_smoothing: e; a target y counts as y (1 - e) + e/2 (Szegedy et al., CVPR 2016, for two classes).

    Returns:
        Function of targets (n, k), 0 or 1 (or between them, of mixed images), and probabilities (n, k), both float32,
        to losses (n,): the sum over labels of label_weight * class_weight * (1 - p_t)^g * -log p_t, with p clipped to
        [1e-7, 1 - 1e-7].
    """
    weights = np.ones((2, len(label_weights)), np.float32) if class_weights is None else class_weights
    negative, positive = weights * label_weights

    def loss(targets: Any, probabilities: Any) -> Any:
        if label_smoothing:
            targets = targets * (1 - label_smoothing) + label_smoothing / 2
        p = functions.clip(probabilities, _EPSILON, 1 - _EPSILON)
        if_positive, if_negative = -functions.log(p), -functions.log(1 - p)
        if focal_gamma:
            if_positive, if_negative = (1 - p) ** focal_gamma * if_positive, p**focal_gamma * if_negative
        return functions.sum(positive * targets * if_positive + negative * (1 - targets) * if_negative, axis=-1)

    return loss
