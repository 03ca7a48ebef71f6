"""What the DICOM headers say, counted; and what the series look like."""

from pathlib import Path
from typing import Any

import polars as pl
from pydicom.uid import UID

from ich.datacard.distributions import distribution, value_counts
from ich.dicom.series import SAME_PLACE_MM, TOLD_DEGREES, UNEVEN_SHARE
from ich.files import read_parquet
from ich.prepare.ledger import INDEX_SCHEMA
from ich.prepare.patients import READABLE

_COLUMNS = (
    "status", "series", "tilt_degrees", "row_spacing_mm", "column_spacing_mm", "rows", "columns", "bits_stored",
    "signed", "slope", "intercept", "photometric", "transfer_syntax", "modality", "manufacturer",
)  # fmt: skip
_ORDER = {"slice_index": pl.Int32, "position_mm": pl.Float64, "slice_spacing_mm": pl.Float64}


def describe(ledger: Path) -> dict[str, Any]:
    """Counts and distributions over the slices of a ledger whose header could be read.

    Raises:
        DataError: the ledger is damaged.
    """
    table = read_parquet(ledger, {name: INDEX_SCHEMA[name] for name in _COLUMNS} | _ORDER)
    readable = table.filter(READABLE)
    return {
        "source": ledger.name,
        "slices": len(readable),
        "of": len(table),
        "counts": {name: value_counts(values) for name, values in _texts(readable).items()},
        "distributions": {
            "pixel spacing, mm": distribution(readable["row_spacing_mm"]),
            "tilt, degrees": distribution(readable["tilt_degrees"]),
        },
        "not_square_pixels": readable.filter(pl.col("row_spacing_mm") != pl.col("column_spacing_mm")).height,
        "series": _series(readable),
    }


def _texts(table: pl.DataFrame) -> dict[str, pl.Series]:
    """What is counted of each slice, as text; null where the header does not say."""
    syntaxes = {value: _syntax(value) for value in table["transfer_syntax"].unique().drop_nulls()}
    signed = pl.col("signed").replace_strict({True: "signed", False: "unsigned"}, default=None, return_dtype=pl.String)
    chosen = table.select(
        pl.format("{} x {}", "rows", "columns").alias("rows x columns"),
        pl.format("{} {}", "bits_stored", signed).alias("bits stored"),
        pl.col("slope").cast(pl.String).str.strip_suffix(".0").alias("rescale slope"),
        pl.col("intercept").cast(pl.String).str.strip_suffix(".0").alias("rescale intercept"),
        pl.col("photometric").alias("photometric interpretation"),
        pl.col("transfer_syntax").replace(syntaxes).alias("transfer syntax"),
        pl.col("modality"),
        pl.col("manufacturer"),
    )
    return {name: chosen[name] for name in chosen.columns}


def _syntax(uid: str) -> str:
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def _series(table: pl.DataFrame) -> dict[str, Any]:
    """Slices and spacing of each series, and how many series are odd in which way."""
    steps = (
        table.filter(pl.col("series").is_not_null())
        .sort("series", "slice_index", nulls_last=True)
        .with_columns(step=pl.col("position_mm").diff().over("series"))
    )
    real = pl.col("step") > SAME_PLACE_MM
    uneven = (pl.col("step") - pl.col("slice_spacing_mm")).abs() > UNEVEN_SHARE * pl.col("slice_spacing_mm")
    each = steps.group_by("series").agg(
        slices=pl.len(),
        spacing=pl.col("slice_spacing_mm").first(),
        without_place=pl.col("slice_index").null_count() > 0,
        one_place=(~real).any(),
        uneven=(real & uneven).any(),
        tilted=(pl.col("tilt_degrees") > TOLD_DEGREES).any(),
    )
    odd = {
        "with slices that have no place in it": "without_place",
        "with two slices at one place": "one_place",
        "with uneven steps (by more than a tenth of their median)": "uneven",
        f"tilted by more than {TOLD_DEGREES:g} degree": "tilted",
    }
    return {
        "series": len(each),
        "slices_without_series": int(table["series"].null_count()),
        "distributions": {
            "slices a series": distribution(each["slices"]),
            "slice spacing, mm": distribution(each["spacing"]),
        },
        "oddities": {name: int(each[column].sum()) for name, column in odd.items()},
    }
