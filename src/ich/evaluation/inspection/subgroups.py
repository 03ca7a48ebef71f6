"""Figures of `any` in the subgroups that headers allow. They describe; none is tested against another.

With many groups some differ by chance alone, and groups differ in patients too (a scanner stands in one hospital), so
that a difference says where to look and not why.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.evaluation.statistics import intervals, metrics
from ich.evaluation.statistics.results import Estimate, Sample, mean_estimates, ratio_estimates

FEWEST_POSITIVE_PATIENTS = 10
MOST_MANUFACTURERS = 8
NOT_KNOWN, OTHERS = "not known", "others"
NOTE = (
    "Subgroups describe; none is tested against another. With many groups some differ by chance, and groups differ in "
    "patients too."
)


class Subgroup(NamedTuple):
    """Slices that have something in common.

    Attributes:
        by: what they are told apart by.
        name: of the group.
        rows: (n,) bool.
    """

    by: str
    name: str
    rows: NDArray[np.bool_]


def _bit_depth(headers: pl.DataFrame) -> pl.Series:
    sign = pl.when("signed").then(pl.lit(" bits, signed")).when(~pl.col("signed")).then(pl.lit(" bits, unsigned"))
    return headers.select(pl.col("bits_stored").cast(pl.String) + sign).to_series()


def _spacing(headers: pl.DataFrame) -> pl.Series:
    mm = headers["slice_spacing_mm"].to_numpy()  # null is NaN here
    names = np.array(_SPACINGS)[np.searchsorted(_SPACING_ENDS_MM, mm, side="left")]
    return pl.Series(names).set(pl.Series(np.isnan(mm)), None)


def _third(headers: pl.DataFrame) -> pl.Series:
    """By the middle of each slice, so that of two slices one is in the lowest third and one in the highest."""
    third = (3 * (2 * pl.col("slice_index") + 1)) // (2 * pl.col("slices_in_series"))
    return headers.select(third.replace_strict(range(3), _THIRDS, return_dtype=pl.String)).to_series()


def _manufacturer(headers: pl.DataFrame) -> pl.Series:
    names = headers["manufacturer"].str.strip_chars().str.to_uppercase().replace("", None)
    common = [name for name, _ in Counter(names.drop_nulls()).most_common(MOST_MANUFACTURERS)]
    return (
        names.to_frame("name")
        .select(pl.when(pl.col("name").is_null() | pl.col("name").is_in(common)).then("name").otherwise(pl.lit(OTHERS)))
        .to_series()
    )


_SPACING_ENDS_MM = (1.5, 3.5, 6)  # the upper end belongs to its group
_SPACINGS = ("to 1.5 mm", "over 1.5 to 3.5 mm", "over 3.5 to 6 mm", "over 6 mm")
_THIRDS = ("lowest", "middle", "highest")
# By what, the columns it needs, the group of each slice, and the groups in their order (empty: by name).
_GROUPINGS: tuple[tuple[str, tuple[str, ...], Callable[[pl.DataFrame], pl.Series], tuple[str, ...]], ...] = (
    ("bit depth", ("bits_stored", "signed"), _bit_depth, ()),
    ("slice spacing", ("slice_spacing_mm",), _spacing, _SPACINGS),
    ("third of the series", ("slice_index", "slices_in_series"), _third, _THIRDS),
    ("manufacturer", ("manufacturer",), _manufacturer, ()),
)


def groups(headers: pl.DataFrame) -> tuple[list[Subgroup], dict[str, str]]:
    """Every subgroup that the headers allow, and why others are left out.

    Groups of `repair` can overlap, as a slice can have several; those of anything else are disjoint and hold all
    slices, those without a value as `not known`. Thirds are counted from the lowest position along the series' normal.

    Args:
        headers: n rows, of `slice_headers.read`.

    Returns:
        Groups that hold at least one slice, and a reason by what they would be told apart by.
    """
    found, left_out = [], {}
    for by, columns, group_of, order in _GROUPINGS:
        lacking = [name for name in columns if name not in headers.columns]
        names = pl.Series([None], dtype=pl.String) if lacking else group_of(headers)
        if names.is_null().all():
            left_out[by] = f"no slice has {lacking[0] if lacking else columns[0]} in the ledger"
            continue
        for name in [*(order or sorted(set(names.drop_nulls()))), NOT_KNOWN]:
            found.append(Subgroup(by, name, (names.fill_null(NOT_KNOWN) == name).to_numpy()))
    if "repairs" not in headers.columns or headers["repairs"].is_null().all():
        left_out["repair"] = "no slice has repairs in the ledger"
    else:
        found += _repairs(headers["repairs"])
    return [group for group in found if group.rows.any()], left_out


def _repairs(repairs: pl.Series) -> list[Subgroup]:
    """Not repaired, repaired, and each repair by name."""
    number = repairs.list.len()
    names = sorted(set(repairs.explode(empty_as_null=True).drop_nulls()))
    masks = {"none": number == 0, "any repair": number > 0} | {name: repairs.list.contains(name) for name in names}
    masks[NOT_KNOWN] = repairs.is_null()
    return [Subgroup("repair", name, mask.fill_null(False).to_numpy()) for name, mask in masks.items()]


def summarise(
    sample: Sample, headers: pl.DataFrame, replicates: int, rng: Callable[[], np.random.Generator]
) -> dict[str, Any]:
    """Figures of `any` in every subgroup, JSON-able.

    Args:
        sample: n slices with the decisions at the operating point.
        headers: their n rows, of `slice_headers.read`.
        replicates: of the bootstrap over patients; 0 gives no intervals.
        rng: gives a generator in the same state each time.

    Returns:
        `note`, `left_out` (reasons), `fewest_positive_patients`, and `groups`: of each `by`, `name`, `slices`,
        `patients`, `positives`, `positive_patients`, `few` (fewer positive patients than that: hardly a figure), the
        counts `tp`, `fp`, `tn`, `fn`, and `auroc`, `sensitivity`, `specificity`, `log_loss` as `Estimate.as_json`.
    """
    found, left_out = groups(headers)
    return {
        "note": NOTE,
        "left_out": left_out,
        "fewest_positive_patients": FEWEST_POSITIVE_PATIENTS,
        "groups": [_figures(group, sample, replicates, rng) for group in found],
    }


def _figures(
    group: Subgroup, sample: Sample, replicates: int, rng: Callable[[], np.random.Generator]
) -> dict[str, Any]:
    truth, called = sample.truth[group.rows, :1], sample.decisions[group.rows, :1]
    p, patients = sample.probabilities[group.rows, :1], sample.patients[group.rows]
    (ratios,) = ratio_estimates(truth, called, patients, replicates, rng(), sample.level)
    (log_loss,) = mean_estimates(metrics.log_losses(truth, p), patients, replicates, rng())
    figures = {
        "auroc": _auroc(truth[:, 0], p[:, 0], patients, replicates, rng()),
        **{name: ratios.figures[name] for name in ("sensitivity", "specificity")},
        "log_loss": log_loss,
    }
    positive_patients = len(np.unique(patients[truth[:, 0]]))
    return {
        "by": group.by,
        "name": group.name,
        "slices": len(truth),
        "patients": len(np.unique(patients)),
        "positives": int(truth.sum()),
        "positive_patients": positive_patients,
        "few": positive_patients < FEWEST_POSITIVE_PATIENTS,
        **ratios.counts,
        **{name: figure.as_json() for name, figure in figures.items()},
    }


def _auroc(
    truth: NDArray[np.bool_],
    scores: NDArray[np.floating],
    patients: NDArray[np.str_],
    replicates: int,
    rng: np.random.Generator,
) -> Estimate:
    if reason := metrics.why_undefined("auroc", metrics.confusion(truth, truth)):
        return Estimate(float("nan"), reason=reason)
    codes, n_patients = intervals.patient_codes(patients)
    ranking = metrics.rank(truth, scores)
    drawn = [
        metrics.auroc_and_average_precision(ranking, weights, codes)[0]
        for weights in intervals.draw(n_patients, replicates, len(truth), rng)
    ]
    return Estimate(metrics.auroc(truth, scores), *intervals.percentile_interval(np.concatenate([np.empty(0), *drawn])))
