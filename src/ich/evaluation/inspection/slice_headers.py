"""What the ledgers know of each evaluated slice: its place in the series, and headers that make subgroups."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ich.files import read_parquet
from ich.labels import IMAGE_ID
from ich.prepare.ledger import SLICES_SCHEMA
from ich.workspace import Workspace

_PLACE = ("series", "slice_index", "slice_spacing_mm")
_HEADERS = ("bits_stored", "signed", "manufacturer", "repairs")
_TYPES = SLICES_SCHEMA | {"slice_index": pl.Int32, "slice_spacing_mm": pl.Float64}


def read(workspace: Workspace, image_ids: Sequence[str]) -> pl.DataFrame:
    """Columns of the ledgers, of some slices in their order; a column that a ledger lacks is left out.

    The place is that in index.parquet, which holds whole series; without an index that in slices.parquet, where a
    series may be what was sampled of it.

    Returns:
        ImageID, `series`, `slice_index`, `slice_spacing_mm`, `slices_in_series` (how many have a place), `bits_stored`,
        `signed`, `manufacturer`, `repairs`. Nulls for slices that are in no ledger.

    Raises:
        DataError: a ledger is damaged, or slices.parquet is not there.
    """
    headers = _columns(workspace.slices, _HEADERS)
    placed = _columns(workspace.index if workspace.index.exists() else workspace.slices, _PLACE)
    return join(pl.DataFrame({IMAGE_ID: list(image_ids)}, {IMAGE_ID: pl.String}), headers, placed)


def _columns(path: Path, names: Sequence[str]) -> pl.DataFrame:
    """ImageID and those of the columns that are there and hold what they should."""
    read_parquet(path, {IMAGE_ID: pl.String})  # raises what says how to mend it
    held = pl.read_parquet_schema(path)
    return read_parquet(path, {name: _TYPES[name] for name in (IMAGE_ID, *names) if held.get(name) == _TYPES[name]})


def join(rows: pl.DataFrame, headers: pl.DataFrame, placed: pl.DataFrame) -> pl.DataFrame:
    """Join headers and places to rows by ImageID, each slice of the ledgers once; see `read`."""
    places = placed.unique(IMAGE_ID)
    if {"series", "slice_index"} <= set(placed.columns):
        known = pl.col("series").is_not_null() & pl.col("slice_index").is_not_null()
        length = pl.when(known).then(pl.col("slice_index").max().over("series") + 1)
        places = places.with_columns(slices_in_series=length)
    for table in (headers.unique(IMAGE_ID), places):
        rows = rows.join(table, on=IMAGE_ID, how="left", maintain_order="left")
    return rows
