"""From slices to series and patients: positive where any slice is; its probability is the largest of its slices'."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.errors import DataError


class Units(NamedTuple):
    """Series, or patients, by ascending name.

    Attributes:
        names, patients: (m,) the unit, and whose it is.
        truth: (m, labels) bool.
        probabilities: (m, labels) in the dtype given.
        members: (m,) slices of each.
    """

    names: NDArray[np.str_]
    patients: NDArray[np.str_]
    truth: NDArray[np.bool_]
    probabilities: NDArray[np.floating]
    members: NDArray[np.int64]


def aggregate(
    truth: NDArray[np.bool_], probabilities: NDArray[np.floating], units: NDArray[np.str_], patients: NDArray[np.str_]
) -> Units:
    """Gather slices into units. Decisions are made afterwards, on the units' probabilities.

    `any` stays at least as probable as each subtype, as it is in every slice. Maxima grow with the number of slices, so
    a unit's probabilities are not calibrated by its slices' being so.

    Args:
        truth: (n, labels)
        probabilities: (n, labels)
        units: (n,) the series of each slice, or the patient; a slice of none, "", is a unit of its own.
        patients: (n,) whose slice it is.

    Raises:
        DataError: a unit has slices of two patients.
    """
    alone = units == ""
    names = np.where(alone, [f"row {row}" for row in range(len(units))], units) if alone.any() else units
    found, first, codes, members = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    owners = patients[first]
    strangers = np.flatnonzero(patients != owners[codes])
    if len(strangers):
        raise DataError(
            f"series {names[strangers[0]]} has slices of more than one patient; it belongs to one: correct the column "
            "of series or that of patients"
        )
    order = np.argsort(codes, kind="stable")
    starts = np.cumsum(members) - members
    return Units(
        found,
        owners,
        np.logical_or.reduceat(truth[order], starts, axis=0) if len(found) else truth,
        np.maximum.reduceat(probabilities[order], starts, axis=0) if len(found) else probabilities,
        members,
    )
