"""Which slices the report shows: an even mix of the four outcomes for `any`, drawn by seed, not picked."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics.metrics import outcomes

KINDS = ("true positive", "false negative", "false positive", "true negative")


class Example(NamedTuple):
    """A slice (its row) and its outcome."""

    row: int
    kind: str


def choose(
    truth: NDArray[np.bool_], decisions: NDArray[np.bool_], patients: NDArray[np.str_], number: int, seed: int
) -> list[Example]:
    """Draw `number` slices, a quarter of each outcome as far as there are any, from different patients first.

    Args:
        truth, decisions: (n,) bool, of `any`.
        patients: (n,) names.
        number: fewer come back where there are fewer slices.
        seed: of the draw.

    Returns:
        Examples, grouped in the order of KINDS.
    """
    which = outcomes(truth, decisions)
    rng = np.random.default_rng(seed)
    masks = (which.tp, which.fn, which.fp, which.tn)
    queues = [different_patients_first(rng.permutation(np.flatnonzero(mask)), patients) for mask in masks]
    taken = [0] * len(KINDS)
    while sum(taken) < min(
        number, len(truth)
    ):  # one of each kind in turn, so that a rare kind leaves room to the others
        for kind, queue in enumerate(queues):
            if taken[kind] < len(queue) and sum(taken) < number:
                taken[kind] += 1
    return [
        Example(int(row), name)
        for name, queue, count in zip(KINDS, queues, taken, strict=True)
        for row in queue[:count]
    ]


def different_patients_first(rows: NDArray[np.intp], patients: NDArray[np.str_]) -> NDArray[np.intp]:
    """The rows in their order, but every patient's first before any patient's second; (k,) and (n,) -> (k,)."""
    codes = np.unique(patients[rows], return_inverse=True)[1]
    by_patient = np.argsort(codes, kind="stable")
    ordinal = np.empty(len(rows), np.intp)
    starts = np.searchsorted(codes[by_patient], codes[by_patient], "left")
    ordinal[by_patient] = np.arange(len(rows)) - starts
    return rows[np.argsort(ordinal, kind="stable")]
