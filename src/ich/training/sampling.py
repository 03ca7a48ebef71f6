"""Weighted sampling of a stage's training slices, and what training sees of each label's prevalence by it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.errors import DataError
from ich.labels import Label
from ich.training.losses import class_counts


def balanced_chances(targets: NDArray[np.integer]) -> NDArray[np.float64]:
    """Chance of each slice in each draw of an epoch, so that what is rare comes more often.

    A slice weighs as much as the largest of the odds (1 - p) / p against the labels that it is positive for, p their
    prevalence among these slices; one that is positive for none weighs 1. Of one label, positives and negatives are
    then equally likely; of several, a slice counts for the rarest of its labels.

    Args:
        targets: (n, k) 0 or 1. A label that is the same in all slices makes no difference.

    Returns:
        (n,), with the sum 1.
    """
    negatives, positives = class_counts(targets)
    odds = np.where(negatives > 0, negatives / np.maximum(positives, 1), 0)
    weights = (targets * odds).max(axis=1)
    weights[weights == 0] = 1
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances


def priors(
    natural: dict[str, Any],
    labels: Sequence[Label],
    among: Label | None,
    targets: NDArray[np.integer],
    chances: NDArray[np.float64] | None,
    class_weights: NDArray[np.float32] | None,
) -> dict[Label, dict[str, float]]:
    """How often each label is positive in nature, in what training draws, and in what its loss adds up.

    A network's probabilities, before calibration, are those of the last of these three.

    Args:
        natural: counts and slices of the training split (splits.json), before any sampling or augmentation; in the
            notebooks' order, which splits what was sampled, after the sampling.
        labels: k of them, of a stage.
        among: the label whose positives alone the stage sees; None: it sees all slices.
        targets: (n, k) of the stage's training slices, offline copies too.
        chances: as in `class_counts`.
        class_weights: (2, k) factors of negatives and positives in the loss; None: all 1.

    Returns:
        Of each label, `positives` and `slices` of the natural training split and their ratio `prevalence`;
        `prevalence_seen`, in what an epoch draws on average; `effective_prior`, its positives over both classes, each
        times its class weight. A label's own weight is a factor of both, and changes none of them.

    Raises:
        DataError: splits.json does not hold these counts.
    """
    try:
        counts = {label: int(natural["counts"][label]) for label in labels}
        slices = int(natural["slices"] if among is None else natural["counts"][among])
    except (KeyError, TypeError) as error:
        raise DataError("splits.json does not hold the slices of the training split; run split again") from error
    seen = class_counts(targets, chances)
    weighted = seen if class_weights is None else seen * class_weights
    shares = [(each[1] / each.sum(axis=0)).tolist() for each in (seen, weighted)]
    return {
        label: {
            "positives": counts[label],
            "slices": slices,
            "prevalence": counts[label] / slices,
            "prevalence_seen": prevalence_seen,
            "effective_prior": effective_prior,
        }
        for label, prevalence_seen, effective_prior in zip(labels, *shares, strict=True)
    }
