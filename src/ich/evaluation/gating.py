"""The cascade's own account: what the gate kept from stage 2, and what that missed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.labels import LABELS


def account(truth: NDArray[np.bool_], gated_in: NDArray[np.bool_]) -> dict[str, Any]:
    """Count slices and positives that the gate kept away.

    Args:
        truth: (n, 6)
        gated_in: (n,) whether stage 2 ran.

    Returns:
        `slices`, `gated_away`, and for each label `missed` (positives kept away) and `positives`.
    """
    missed = (truth & ~gated_in[:, None]).sum(axis=0).tolist()
    positives = truth.sum(axis=0).tolist()
    return {
        "slices": len(gated_in),
        "gated_away": int((~gated_in).sum()),
        "labels": {
            label: {"missed": away, "positives": total}
            for label, away, total in zip(LABELS, missed, positives, strict=True)
        },
    }
