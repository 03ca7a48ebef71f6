"""Which slice lies before and after which along its series, and the slices of a split with them (`train.input`)."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.data import Manifest, Neighbours, read_manifest
from ich.errors import DataError
from ich.files import read_parquet
from ich.labels import IMAGE_ID, is_augmented, read_table
from ich.prepare.patients import READABLE
from ich.workspace import SPLITS, SplitName, Workspace

PLACE_SCHEMA: dict[str, type[pl.DataType]] = {
    IMAGE_ID: pl.String, "status": pl.String, "series": pl.String, "slice_index": pl.Int32,
}  # fmt: skip
MOST_LEFT_OUT = 0.01  # share of the neighbours that exist


def neighbours(slices: pl.DataFrame) -> NDArray[np.intp]:
    """Rows of the slice before, of the slice itself and of the one after, along its series.

    Args:
        slices: `series` and `slice_index`, the place along its normal (`ich.prepare.ledger.series_order`); n rows in
            any order. Places may be left out: the next slice that is there is the neighbour.

    Returns:
        (n, 3). The slice itself stands for a neighbour that is not there, at the ends of its series, and for both where
        its series or place is not known (null).
    """
    beside = np.repeat(np.arange(len(slices))[:, None], 3, axis=1)
    known = slices.select("series", "slice_index").with_row_index("row").drop_nulls().sort("series", "slice_index")
    rows = known["row"].to_numpy()
    together = (known["series"].rle_id().diff(null_behavior="drop") == 0).to_numpy()
    beside[rows[1:][together], 0] = rows[:-1][together]
    beside[rows[:-1][together], 2] = rows[1:][together]
    return beside


def read_slices(workspace: Workspace, split: SplitName) -> Manifest:
    """The slices of a split, with their neighbours where `train.input` asks for them.

    Neighbours are other slices of the same split, never of another one.

    Raises:
        DataError: as `ich.data.read_manifest`; or there are augmented images, which have no neighbours.
    """
    slices, train = read_manifest(workspace.table(split), workspace.images(split)), workspace.config.train
    if train.input == "windows":
        return slices
    if copies := sum(map(is_augmented, slices.ids)):
        raise DataError(
            f"{workspace.table(split)} holds {copies} augmented images, whose neighbours are not augmented; run "
            "augment again with augment.target: 0 (train.sampling: balanced draws rare classes more often)"
        )
    places = pl.DataFrame({IMAGE_ID: slices.ids}).join(
        read_parquet(workspace.slices, PLACE_SCHEMA), on=IMAGE_ID, how="left", maintain_order="left"
    )
    return slices.beside(Neighbours(slices.paths, neighbours(places), train.neighbours_window))


def without_image(workspace: Workspace) -> list[str]:
    """A line that counts the neighbours without an image, if there are any.

    The index knows which neighbours exist; a few may have been quarantined, or have no labels.

    Raises:
        DataError: more than 1 % of those of a split were never prepared, since they were not sampled, or have no
            labels. Each split by itself: `sample.scope: train` leaves the series of the others whole.
    """
    index = read_parquet(workspace.index, PLACE_SCHEMA).filter(READABLE)
    ledger = read_parquet(workspace.slices, PLACE_SCHEMA)
    asked, usable = (_is_in(index, table) for table in (ledger, ledger.filter(READABLE)))
    beside, lacking, existing = neighbours(index), 0, 0
    for split in (split for split in SPLITS if workspace.table(split).exists()):
        before, itself, after = beside[usable & _is_in(index, read_table(workspace.table(split)))].T
        exist = np.concatenate([before[before != itself], after[after != itself]])
        if (left_out := int((~asked[exist]).sum())) > MOST_LEFT_OUT * len(exist):
            raise DataError(
                f"{left_out:,} of the {len(exist):,} neighbours in split {split} that index.parquet knows were not "
                "prepared; set sample.whole_series: true and run the steps from sample on (files without labels cannot "
                "be taken: label them), or set train.input: windows"
            )
        lacking, existing = lacking + int((~usable[exist]).sum()), existing + len(exist)
    if not lacking:
        return []
    return [f"{lacking:,} of {existing:,} neighbours have no image: the next slice that has one stands for each"]


def _is_in(index: pl.DataFrame, table: pl.DataFrame) -> NDArray[np.bool_]:
    return index[IMAGE_ID].is_in(table[IMAGE_ID].implode()).to_numpy()
