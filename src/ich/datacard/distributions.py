"""How values are spread: quartiles and a small histogram, or counts of each value; undefined is said, never 0."""

from typing import Any

import numpy as np
import polars as pl

BINS = 24


def distribution(values: pl.Series) -> dict[str, Any]:
    """Extremes and quartiles of numbers.

    Args:
        values: null or NaN where a slice or series has none.

    Returns:
        n: values that there are; of: values and gaps; min, q1, median, q3, max (quartiles interpolated linearly), and
        histogram: counts in BINS bins of one width from min to max (one bin where all values are alike). Without a
        value these are None, and reason says so.
    """
    numbers = values.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()
    counted = {"n": len(numbers), "of": len(values)}
    names = ("min", "q1", "median", "q3", "max")
    if not len(numbers):
        reason = "there are none" if not len(values) else f"none of {len(values):,} has a value"
        return counted | dict.fromkeys(names) | {"histogram": None, "reason": reason}
    marks = dict(zip(names, np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]).tolist(), strict=True))
    bins = BINS if marks["max"] > marks["min"] else 1
    return counted | marks | {"histogram": np.histogram(numbers, bins)[0].tolist(), "reason": None}


def value_counts(values: pl.Series) -> list[dict[str, Any]]:
    """`value` (text; None where it is absent) and `n` of each, commonest first; they add up to all values."""
    found = values.rename("value").to_frame().group_by("value").agg(n=pl.len())
    return found.sort(["n", "value"], descending=[True, False], nulls_last=True).to_dicts()
