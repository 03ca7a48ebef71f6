"""Pixels: HU and padding of all prepared slices, colours of a sample of training images, and images to look at."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.datacard.distributions import distribution
from ich.files import read_parquet
from ich.labels import IMAGE_ID, LABELS
from ich.png import read_png
from ich.prepare.ledger import SLICES_SCHEMA
from ich.prepare.patients import READABLE
from ich.progress import progress_bar
from ich.workspace import Workspace

MOST_IMAGES = 1_000  # of a sample; for colours, the mean of a channel is then known to some percent of its spread
SHOWN = 6  # images of each label and of each repair
_COLUMNS = (IMAGE_ID, "status", "repairs", "hu_min", "hu_max", "padding")
_COLOURS, _LABELS, _REPAIRS = range(3)  # what a draw is for: each has random numbers of its own


def read_ledger(workspace: Workspace) -> pl.DataFrame:
    """Slices that have an image: ImageID, repairs, HU and padding."""
    table = read_parquet(workspace.slices, {name: SLICES_SCHEMA[name] for name in _COLUMNS})
    return table.filter(READABLE)


def describe(ledger: pl.DataFrame) -> dict[str, Any]:
    """Distributions over the slices with an image."""
    return {
        "slices": len(ledger),
        "distributions": {
            "lowest HU of a slice": distribution(ledger["hu_min"]),
            "highest HU of a slice": distribution(ledger["hu_max"]),
            "padding, share of a slice's pixels": distribution(ledger["padding"]),
        },
        "with_padding": int((ledger["padding"] > 0).sum()),
    }


def colours(training: pl.DataFrame, workspace: Workspace) -> dict[str, Any]:
    """Mean and standard deviation of each channel over all pixels of a sample of the natural training images.

    Args:
        training: ImageID of the natural training slices.
        workspace: whose images are read, and whose seed draws the sample.

    Returns:
        images: size of the sample; of: training images; mean and deviation: of red, green and blue, 0 to 255; None
        without an image.

    Raises:
        DataError: an image is missing or damaged.
    """
    chosen = _shuffled(training.select(IMAGE_ID), workspace.config.seed, _COLOURS).head(MOST_IMAGES)[IMAGE_ID].to_list()
    if not chosen:
        return {"images": 0, "of": 0, "mean": None, "deviation": None, "reason": "there is no training image"}

    def moments(image_id: str) -> NDArray[np.float64]:
        pixels = read_png(workspace.png / f"{image_id}.png").reshape(-1, 3).astype(np.float64)
        return np.stack([pixels.mean(axis=0), np.square(pixels).mean(axis=0)])

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress_bar("colours", len(chosen)) as advance:
        for each in pool.map(moments, chosen):
            found.append(each)
            advance(1)
    mean, square = np.mean(found, axis=0)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return {
        "images": len(chosen), "of": len(training), "mean": mean.tolist(), "deviation": deviation.tolist(),
        "reason": None,
    }  # fmt: skip


def choose(
    training: pl.DataFrame, ledger: pl.DataFrame, owners: pl.DataFrame | None, seed: int
) -> dict[str, dict[str, Any]]:
    """Which images the page shows: drawn by the seed, from different patients first.

    Args:
        training: ImageID and labels of the natural training slices, sorted; validation and test stay unseen.
        ledger: from `read_ledger`.
        owners: ImageID and patient; None if they are not known.
        seed: of the draw.

    Returns:
        Title of each row of images -> image_ids, and of: how many there are to choose from.
    """
    rows: dict[str, pl.DataFrame] = {label: training.filter(pl.col(label) == 1) for label in LABELS}
    rows["no haemorrhage"] = training.filter(pl.col("any") == 0)
    drawn = {title: _draw(table, owners, seed, _LABELS) for title, table in rows.items()}
    names = sorted(ledger["repairs"].explode(empty_as_null=True).drop_nulls().unique())
    repaired = {name: ledger.filter(pl.col("repairs").list.contains(name)) for name in names}
    return drawn | {f"repaired: {name}": _draw(table, owners, seed, _REPAIRS) for name, table in repaired.items()}


def _draw(table: pl.DataFrame, owners: pl.DataFrame | None, seed: int, purpose: int) -> dict[str, Any]:
    mixed = _shuffled(table.select(IMAGE_ID), seed, purpose).head(MOST_IMAGES)  # so many hold SHOWN patients, if any do
    if owners is not None:  # every patient's first slice before any patient's second
        mixed = mixed.join(owners, on=IMAGE_ID, how="left", maintain_order="left")
        turn = pl.int_range(pl.len()).over("patient")
        mixed = mixed.with_columns(turn=turn).sort("turn", maintain_order=True)
    return {"image_ids": mixed.head(SHOWN)[IMAGE_ID].to_list(), "of": len(table)}


def _shuffled(table: pl.DataFrame, seed: int, purpose: int) -> pl.DataFrame:
    return table[np.random.default_rng([seed, purpose]).permutation(len(table))]


def pictures(chosen: Mapping[str, Mapping[str, Any]], workspace: Workspace) -> dict[str, NDArray[np.uint8]]:
    """ImageID -> RGB image (h, w, 3) of every one that was chosen. Raises DataError if one is missing or damaged."""
    ids = dict.fromkeys(image_id for row in chosen.values() for image_id in row["image_ids"])
    return {image_id: read_png(workspace.png / f"{image_id}.png") for image_id in ids}
