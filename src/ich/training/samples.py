"""Some validation slices to watch in TensorBoard: their images once, and after each epoch what is said of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_COUNT = 8


def sample_rows(targets: NDArray[np.integer], count: int = _COUNT) -> NDArray[np.intp]:
    """Rows to watch: as many with a positive label as without, where there are so many, from all over the split.

    Args:
        targets: (n, k) 0 or 1.
        count: how many at most.

    Returns:
        Ascending rows; the same for the same targets.
    """
    positive = targets.any(axis=1)
    chosen = [_spread(np.flatnonzero(positive), count // 2)]
    chosen.append(_spread(np.flatnonzero(~positive), count - len(chosen[0])))
    return np.sort(np.concatenate(chosen))


def sample_table(
    ids: Sequence[str], labels: Sequence[str], targets: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> str:
    """Markdown: a row a slice, a column a label; bold where the label is positive.

    Args:
        ids: n ImageIDs.
        labels: k names.
        targets: (n, k) 0 or 1.
        probabilities: (n, k) in [0, 1].
    """
    lines = ["Bold: the label is present. The slices are among the images.", ""]
    lines += ["| slice | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for name, truth, row in zip(ids, targets, probabilities, strict=True):
        cells = (f"**{p:.3f}**" if y else f"{p:.3f}" for y, p in zip(truth, row, strict=True))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(rows: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Up to `count` of the rows, evenly spaced."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]
