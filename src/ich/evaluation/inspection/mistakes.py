"""Errors to look at: the most confident false positives and negatives, and positives that stand alone in a series."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.evaluation.inspection.examples import different_patients_first
from ich.evaluation.statistics.metrics import outcomes
from ich.labels import LABELS
from ich.neighbours import neighbours

FALSE_POSITIVE, FALSE_NEGATIVE = "false positive", "false negative"


class Mistake(NamedTuple):
    """A slice (its row), the label it is wrong in, how, and the probability of that label."""

    row: int
    label: str
    kind: str
    probability: float


def confident(
    truth: NDArray[np.bool_],
    probabilities: NDArray[np.floating],
    decisions: NDArray[np.bool_],
    patients: NDArray[np.str_],
    number: int,
) -> list[Mistake]:
    """The most confident false positives and false negatives of each label, from different patients first.

    Args:
        truth, decisions: (n, 6) bool.
        probabilities: (n, 6) in [0, 1], calibrated: else confidence is not comparable.
        patients: (n,) names.
        number: of each kind and label, at most; fewer come back where there are fewer.

    Returns:
        Label by label, false positives by descending probability, then false negatives by ascending probability; the
        worst of each patient before any patient's second.
    """
    which = outcomes(truth, decisions)
    found = []
    for column, label in enumerate(LABELS):
        p = probabilities[:, column].astype(np.float64)
        for kind, mask, order in ((FALSE_POSITIVE, which.fp, -p), (FALSE_NEGATIVE, which.fn, p)):
            rows = np.flatnonzero(mask[:, column])
            worst = different_patients_first(rows[np.argsort(order[rows], kind="stable")], patients)[:number]
            found += [Mistake(int(row), label, kind, float(p[row])) for row in worst]
    return found


def isolated(
    truth: NDArray[np.bool_],
    decisions: NDArray[np.bool_],
    patients: NDArray[np.str_],
    places: pl.DataFrame,
    number: int,
) -> dict[str, Any]:
    """Positives whose slices before and after are both negative: of the labels, and of the decisions.

    A haemorrhage seldom fills one slice only, so either may be wrong; with thick slices it may be right. Slices at an
    end of a series, without a known place, or whose neighbour is not in this split, are not judged.

    Args:
        truth, decisions: (n, 6) bool.
        patients: (n,) names.
        places: `series` and `slice_index` of the n slices, e.g. of `slice_headers.read`.
        number: of examples, for each label and kind.

    Returns:
        `reason` (empty, or why nothing could be judged), `judged` (slices with both neighbours), and `labels`: of each
        label, for `labelled` and `called`: `isolated`, `positives` (judged ones), and `rows` of examples, from
        different patients first.
    """
    if missing := [name for name in ("series", "slice_index") if name not in places.columns]:
        return {"reason": f"the ledger has no {missing[0]}", "judged": 0, "labels": {}}
    before, after = _adjacent(places)
    judged = (before >= 0) & (after >= 0)
    content: dict[str, Any] = {
        "reason": "" if judged.any() else "no slice has both neighbours here", "judged": int(judged.sum()), "labels": {}
    }  # fmt: skip
    for column, label in enumerate(LABELS):
        content["labels"][label] = {}
        for kind, values in (("labelled", truth[:, column]), ("called", decisions[:, column])):
            positive = values & judged
            alone = np.flatnonzero(positive & ~values[before] & ~values[after])
            content["labels"][label][kind] = {
                "isolated": len(alone),
                "positives": int(positive.sum()),
                "rows": different_patients_first(alone, patients)[:number].tolist(),
            }
    return content


def _adjacent(places: pl.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the slices directly before and after, (n,) each; -1 where that is not among them."""
    index = places["slice_index"].fill_null(-2).to_numpy().astype(np.int64)
    before, _, after = neighbours(places).T
    step_before, step_after = index - index[before], index[after] - index
    return np.where(step_before == 1, before, -1), np.where(step_after == 1, after, -1)
