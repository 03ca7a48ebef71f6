"""The ledger: one row for every slice that a step was asked for, whatever became of it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import polars as pl

from ich.dicom.read import SliceHeader, SlicePlane
from ich.dicom.series import order_series, tilt_degrees
from ich.labels import IMAGE_ID

Status = Literal["ok", "repaired", "quarantined", "missing"]
STATUSES: tuple[Status, ...] = ("ok", "repaired", "quarantined", "missing")

_NAMED, _REASONS = 3, 10  # ids of each reason, and reasons, that are printed; the ledger has all

_STATUS = {IMAGE_ID: pl.String, "path": pl.String, "size": pl.Int64, "status": pl.String, "reason": pl.String}
_HEADER = {
    "patient": pl.String,
    "study": pl.String,
    "series": pl.String,
    "instance": pl.String,
    "position": pl.List(pl.Float64),
    "orientation": pl.List(pl.Float64),
    "tilt_degrees": pl.Float64,
    "row_spacing_mm": pl.Float64,
    "column_spacing_mm": pl.Float64,
    "rows": pl.Int32,
    "columns": pl.Int32,
    "bits_allocated": pl.Int32,
    "bits_stored": pl.Int32,
    "signed": pl.Boolean,
    "slope": pl.Float64,
    "intercept": pl.Float64,
    "photometric": pl.String,
    "transfer_syntax": pl.String,
    "modality": pl.String,
    "manufacturer": pl.String,
}
_PIXELS = {
    "repairs": pl.List(pl.String),
    "hu_min": pl.Int32,
    "hu_max": pl.Int32,
    "padding": pl.Float32,  # share of pixels below -1024 HU
    "hu_sha256": pl.String,
    "png_size": pl.Int64,  # bytes
    "png_sha256": pl.String,
}
# What other steps read of a ledger: which slices can be used, and whose they are.
IDENTITY_SCHEMA: Mapping[str, Any] = dict.fromkeys((IMAGE_ID, "status", "patient", "study", "series"), pl.String)
INDEX_SCHEMA: Mapping[str, Any] = _STATUS | _HEADER
SLICES_SCHEMA: Mapping[str, Any] = _STATUS | _HEADER | _PIXELS


def header_row(header: SliceHeader) -> dict[str, Any]:
    """The ledger's columns that a header fills."""
    row = {name: value for name, value in asdict(header).items() if name in _HEADER}
    spacing = header.pixel_spacing or (None, None)
    tilt = tilt_degrees(header.normal)
    return row | {
        "tilt_degrees": None if np.isnan(tilt) else tilt,
        "row_spacing_mm": spacing[0],
        "column_spacing_mm": spacing[1],
    }


def add_series_order(table: pl.DataFrame) -> pl.DataFrame:
    """Add what a slice is in its series, as `ich.dicom.series.order_series` finds it.

    `slice_index` (0 is the lowest position), `position_mm` along the series' normal and the series' `slice_spacing_mm`.
    Rows of one series must stand in a fixed order (sorted by ImageID): ties are broken by it. Rows without a series get
    nulls; so do the index and position of slices without a place along its normal, such as localizers.
    """
    index: list[int | None] = [None] * len(table)
    position, spacing = np.full(len(table), np.nan), np.full(len(table), np.nan)
    located = table.with_row_index("_row").filter(pl.col("series").is_not_null())
    for group in located.partition_by("series", maintain_order=True):
        rows = group["_row"].to_list()
        planes = [SlicePlane(*place) for place in group.select("position", "orientation").iter_rows()]
        order = order_series(planes)
        for place, (number, along) in enumerate(zip(order.order, order.positions_mm, strict=True)):
            row = rows[number]
            position[row] = along
            index[row] = None if np.isnan(along) else place
        spacing[rows] = order.slice_spacing_mm
    return table.with_columns(
        pl.Series("slice_index", index, pl.Int32),
        pl.Series("position_mm", position).fill_nan(None),
        pl.Series("slice_spacing_mm", spacing).fill_nan(None),
    )


def status_counts(table: pl.DataFrame) -> dict[str, int]:
    """Rows of each status; they add up to the rows of the table."""
    found = dict(table.group_by("status").len().iter_rows())
    return {status: found.get(status, 0) for status in STATUSES}


def left_out(table: pl.DataFrame, listing: str) -> list[str]:
    """Why slices were left out, a line a reason, commonest first, with the first few ids; `listing` holds them all."""
    reasons = (
        table.filter(pl.col("reason").is_not_null())
        .group_by("status", "reason", maintain_order=True)
        .agg(pl.len(), pl.col(IMAGE_ID).head(_NAMED))
        .sort("len", descending=True, maintain_order=True)
    )
    lines = [
        f"{status}: {reason}: {', '.join(ids)}{f' and {n - _NAMED} more' if n > _NAMED else ''}"
        for status, reason, n, ids in reasons.head(_REASONS).iter_rows()
    ]
    if len(reasons) > _REASONS:
        lines.append(f"and {len(reasons) - _REASONS} more reasons")
    return [*lines, f"all of them: {listing}"] if lines else []
