"""Errors to look at, each with its ImageID: confident mistakes, positives between negatives, likely label errors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.evaluation.inspection import label_errors, mistakes
from ich.evaluation.statistics.sample import Sample


def find(sample: Sample, image_ids: NDArray[np.str_], headers: pl.DataFrame, number: int) -> dict[str, Any]:
    """The three kinds of errors.

    Args:
        sample: n slices with decisions.
        image_ids: (n,)
        headers: n rows, with `series` and `slice_index` where they are known (`slice_headers.read`).
        number: shown of each label and kind, at most; of isolated ones half of it. 0 shows none.

    Returns:
        `confident` (`mistakes.confident`), `isolated` (`mistakes.isolated`, examples in the place of rows),
        `label_errors` (`label_errors.summarise`).
    """

    def named(each: Mapping[str, Any]) -> dict[str, Any]:
        return {**each, "image_id": str(image_ids[each["row"]])}

    alone = mistakes.isolated(sample.truth, sample.decisions, sample.patients, headers, number // 2 or number)
    for kinds in alone["labels"].values():
        for kind in kinds.values():
            kind["examples"] = [named({"row": row}) for row in kind.pop("rows")]
    suspected = label_errors.summarise(sample.truth, sample.probabilities, number)
    for each in suspected.values():
        each["listed"] = [named(one) for one in each["listed"]]
    confident = mistakes.confident(sample.truth, sample.probabilities, sample.decisions, sample.patients, number)
    return {
        "confident": [named(each._asdict()) for each in confident], "isolated": alone, "label_errors": suspected,
    }  # fmt: skip
