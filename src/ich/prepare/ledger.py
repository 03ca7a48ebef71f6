"""The ledger: one row for every slice that a step was asked for, whatever became of it."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import xxhash

from ich.dicom.header import SliceHeader, SlicePlane
from ich.dicom.read import CtSlice
from ich.dicom.series import order_series, tilt_degrees
from ich.errors import CannotRead, DataError, UnreadableSlice
from ich.files import list_names, sink_parquet
from ich.labels import IMAGE_ID
from ich.sources.file import SourceFile

Row = dict[str, Any]

Status = Literal["ok", "repaired", "quarantined", "missing"]
STATUSES: tuple[Status, ...] = ("ok", "repaired", "quarantined", "missing")

EXAMPLES = 3  # ids that are named of each reason; the ledger has all
_REASONS = 10  # that are printed when a step ends

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
    # XXH3 of 128 bits, hexadecimal, of the HU as little-endian int16 (-1024 to 32767), row by row, seeded with the
    # number of columns: tells identical slices.
    "hu_hash": pl.String,
}
_IMAGE = {"png_size": pl.Int64, "png_sha256": pl.String}  # bytes
_SAME_NAMES = _HEADER.keys() & SliceHeader.__dataclass_fields__.keys()
# What other steps read of a ledger: which slices can be used, and whose they are.
IDENTITY_SCHEMA: Mapping[str, Any] = dict.fromkeys((IMAGE_ID, "status", "patient", "study", "series"), pl.String)
INDEX_SCHEMA: dict[str, Any] = _STATUS | _HEADER | _PIXELS
SLICES_SCHEMA: dict[str, Any] = INDEX_SCHEMA | _IMAGE


def file_row(file: SourceFile) -> Row:
    """The columns that are known of a file before it is read."""
    return {IMAGE_ID: file.image_id, "path": file.path, "size": file.size if file.size >= 0 else None, "status": "ok"}


def reason_row(error: UnreadableSlice) -> Row:
    """What became of a file that gave no slice: without its bytes it is missing, with them it is quarantined."""
    return {"status": "missing" if isinstance(error, CannotRead) else "quarantined", "reason": str(error)}


def header_row(header: SliceHeader) -> Row:
    """The columns that a header fills."""
    row: Row = {name: getattr(header, name) for name in _SAME_NAMES}
    spacing = header.pixel_spacing or (None, None)
    tilt = tilt_degrees(header.normal)
    return row | {
        "tilt_degrees": None if math.isnan(tilt) else tilt,
        "row_spacing_mm": spacing[0],
        "column_spacing_mm": spacing[1],
    }


def pixel_row(ct: CtSlice) -> Row:
    """The columns that pixels fill, and the status."""
    found = ct.hounsfield
    return {
        "status": "repaired" if found.repairs else "ok", "repairs": list(found.repairs),
        "hu_min": found.lowest, "hu_max": found.highest, "padding": found.padding,
        "hu_hash": xxhash.xxh3_128_hexdigest(np.ascontiguousarray(found.hu).data, seed=found.hu.shape[1]),
    }  # fmt: skip


def write_ledger(path: Path, rows: pl.LazyFrame) -> None:
    """Write rows of INDEX_SCHEMA or SLICES_SCHEMA, with the columns of `series_order`, without holding all of them."""
    order = series_order(rows.select("series", "position", "orientation").collect())
    sink_parquet(path, pl.concat([rows, order.lazy()], how="horizontal"))


def series_order(planes: pl.DataFrame) -> pl.DataFrame:
    """What each slice is in its series, as `ich.dicom.series.order_series` finds it.

    Args:
        planes: `series`, `position` and `orientation`. Rows of one series must stand in a fixed order (sorted by
            ImageID): ties are broken by it.

    Returns:
        `slice_index` (0 is the lowest position), `position_mm` along the series' normal and the series'
        `slice_spacing_mm`, a row a slice. Slices without a series get nulls; so do the index and position of slices
        without a place along its normal, such as localizers.
    """
    index = np.full(len(planes), -1, np.int32)
    position, spacing = np.full(len(planes), np.nan), np.full(len(planes), np.nan)
    located = planes.select("series").with_row_index("row").drop_nulls().sort("series", maintain_order=True)
    starts = np.flatnonzero(located["series"].rle_id().diff().fill_null(1).to_numpy())
    places = planes.select("position", "orientation")
    for start, stop in itertools.pairwise([*starts.tolist(), len(located)]):
        rows = located["row"][start:stop].to_numpy()  # series by series: sorting all places would be a copy of them
        order = order_series([SlicePlane(*place) for place in places[rows].iter_rows()])
        along, ordered = np.array(order.positions_mm), rows[list(order.order)]
        position[ordered] = along
        index[ordered] = np.where(np.isnan(along), -1, np.arange(len(rows)))
        spacing[rows] = order.slice_spacing_mm
    return pl.DataFrame({
        "slice_index": pl.Series(index).replace(-1, None),
        "position_mm": pl.Series(position).fill_nan(None),
        "slice_spacing_mm": pl.Series(spacing).fill_nan(None),
    })  # fmt: skip


def status_counts(table: pl.DataFrame) -> dict[str, int]:
    """Rows of each status."""
    found = dict(table.group_by("status").len().iter_rows())
    return {status: found.get(status, 0) for status in STATUSES}


def repair_counts(table: pl.DataFrame) -> dict[str, int]:
    """Slices of each repair, commonest first; a slice can have several."""
    names = table.select(pl.col("repairs").explode(empty_as_null=True)).drop_nulls()
    found = names.group_by("repairs").len().sort(["len", "repairs"], descending=[True, False])
    return dict(found.iter_rows())


def reason_counts(table: pl.DataFrame) -> pl.DataFrame:
    """`status`, `reason`, `slices` and the first ids as `examples`, a row a reason, commonest first."""
    return (
        table.filter(pl.col("reason").is_not_null())
        .group_by("status", "reason", maintain_order=True)
        .agg(slices=pl.len(), examples=pl.col(IMAGE_ID).head(EXAMPLES))
        .sort("slices", descending=True, maintain_order=True)
    )


def account(table: pl.DataFrame, asked: int) -> dict[str, int]:
    """Rows of each status, of a ledger that has one row for every slice that was asked for.

    Raises:
        DataError: it has not.
    """
    counts = status_counts(table)
    if sum(counts.values()) != asked or table[IMAGE_ID].n_unique() != asked:
        raise DataError(f"ledger does not add up: {counts} for {asked} slices; this is a bug, please report it")
    return counts


def refuse_lost(step: str, folder: Path, written: pl.Series) -> None:
    """Look on the disk, and not in what was reported, whether all that a step wrote is there.

    Raises:
        DataError: a file of these names is not in the folder.
    """
    lost = written.to_frame("name").join(list_names(folder).to_frame(), on="name", how="anti")
    if not lost.is_empty():
        raise DataError(
            f"{step} does not add up: {len(lost)} of {len(written)} files are not in {folder}, such as "
            f"{lost.item(0, 'name')}; does something else remove them? Run it again"
        )


def left_out(table: pl.DataFrame, listing: str) -> list[str]:
    """Why slices were left out, a line a reason, commonest first, with the first few ids; `listing` holds them all."""
    reasons = reason_counts(table)
    lines = [
        f"{status}: {reason}: {', '.join(ids)}{f' and {n - EXAMPLES} more' if n > EXAMPLES else ''}"
        for status, reason, n, ids in reasons.head(_REASONS).iter_rows()
    ]
    if len(reasons) > _REASONS:
        lines.append(f"and {len(reasons) - _REASONS} more reasons")
    return [*lines, f"all of them: {listing}"] if lines else []
