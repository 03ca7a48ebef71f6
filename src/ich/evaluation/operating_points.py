"""Where a probability becomes a decision. Every choice is made on validation data only."""

import numpy as np
from numpy.typing import NDArray

from ich.labels import LABELS, SUBTYPES


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
