"""What the gate needs beside its network: its threshold, and what a slice gets that stage 2 does not see."""

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ich import config
from ich.card import Gate
from ich.data import Manifest
from ich.errors import DataError
from ich.evaluation.validation.operating_points import choose_gate_threshold
from ich.labels import LABELS, SUBTYPES, Label
from ich.models.forward import compile_forward
from ich.training.validation import predict

# A slice that sits on the threshold must pass on other hardware and in other batch sizes too, where P(any) differs by
# up to 1e-5 in float32. A gate in half precision runs in float32 where there is no GPU: its logit was seen to move by
# up to 0.05 (bfloat16, demo's gate, 787 slices: 0.008 of P(any)); twice that is allowed for, and assumed to do
# for larger networks.
_TOLERANCE = 1e-5
_HALF_PRECISION_LOGITS = 0.1

# Where validation is easily told apart, its positives would allow a threshold near 1. A slice that is more likely
# positive than not goes to stage 2 all the same.
_HIGHEST = 0.5


def choose_gate(rule: config.Gate, gate: keras.Model, val: Manifest, size: int, batch_size: int) -> Gate:
    """The threshold, from validation data or fixed by the config, and what it misses there.

    Args:
        rule: `train.gate`.
        gate: images to P(any).
        val: all validation slices.
        size: rows and columns of the images.
        batch_size: slices that are computed together.
    """
    p_any = predict(compile_forward(gate, shared=True), val, size, batch_size)[:, 0]
    if rule.threshold == "validation":
        largest = choose_gate_threshold(p_any, val.labels, rule.max_missed)
        threshold = min(lowered(largest, half_precision=gate.compute_dtype != "float32"), _HIGHEST)
        chosen = (
            f"on {len(val)} validation slices: the largest, up to {_HIGHEST}, with at most {rule.max_missed:.3g} of "
            "each subtype's positives under it"
        )
    else:
        threshold, chosen = float(rule.threshold), "fixed by the config (train.gate.threshold)"
    missed = _positives(val.labels[p_any < threshold])
    return Gate(threshold=threshold, chosen=chosen, missed=missed, positives=_positives(val.labels))


def lowered(threshold: float, *, half_precision: bool) -> float:
    """The threshold less what P(any) of one slice differs by from machine to machine; at least 0."""
    if half_precision and 0 < threshold < 1:
        logit = math.log(threshold / (1 - threshold)) - _HALF_PRECISION_LOGITS
        threshold = 1 / (1 + math.exp(-logit))
    return max(0.0, threshold - _TOLERANCE)


def conditional_prevalence(splits: dict[str, Any]) -> dict[Label, float]:
    """P(subtype | any) among the slices of the training split as they were split.

    With the split before sampling these are all natural slices; in the notebooks' order, the sampled ones.

    Args:
        splits: content of splits.json.

    Raises:
        DataError: it does not hold the counts, or no training slice is positive.
    """
    try:
        counts = splits["splits"]["train"]["counts"]
        positives = int(counts["any"])
        subtypes = {label: int(counts[label]) for label in SUBTYPES}
    except (KeyError, TypeError) as error:
        raise DataError("splits.json does not hold the positives of the training split; run split again") from error
    if not positives:
        raise DataError("the training split holds no slice with haemorrhage; give more data, or another seed")
    return {label: count / positives for label, count in subtypes.items()}


def _positives(labels: NDArray[np.uint8]) -> dict[Label, int]:
    return dict(zip(LABELS, labels.sum(axis=0, dtype=int).tolist(), strict=True))
