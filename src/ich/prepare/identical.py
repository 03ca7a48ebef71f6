"""Slices with identical pixels: who is linked by them, and whether their labels agree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ich.files import read_parquet
from ich.labels import IMAGE_ID, LABELS
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.prepare.patients import PATIENT, READABLE

LISTING = "identical_pixels.csv"
TISSUE_HU = -500  # air and a table stay below: two such slices are alike without being of one patient

_PIXELS = {"hu_hash": pl.String, "hu_max": pl.Int32}


@dataclass(frozen=True)
class Identical:
    """What the hashes of a ledger tell.

    Attributes:
        groups: of `identical_groups`.
        linked: of `linked_patients`.
    """

    groups: pl.DataFrame
    linked: pl.DataFrame

    def units(self, unit: Literal["patient", "slice"]) -> pl.DataFrame:
        """`unit` and `together`, a name for patients or slices that belong into one split; only who is not alone."""
        if unit == "patient":
            return self.linked.rename({"patient": "unit"})
        return self.groups.select(unit=pl.col(IMAGE_ID), together=pl.col("group").cast(pl.String))


def find_identical(ledger: Path) -> Identical | None:
    """Slices with identical pixels among the readable ones of a ledger; None where it has no hashes.

    Raises:
        DataError: the ledger is damaged.
    """
    pixels = _read_pixels(ledger)
    if pixels is None:
        return None
    groups = identical_groups(pixels)
    return Identical(groups, linked_patients(groups))


def _read_pixels(ledger: Path) -> pl.DataFrame | None:
    """ImageID, patient, hu_hash and hu_max (HU) of readable slices."""
    table = read_parquet(ledger, IDENTITY_SCHEMA)
    if not _PIXELS.keys() <= pl.read_parquet(ledger, n_rows=0, glob=False).schema.keys():
        return None
    table = read_parquet(ledger, {**IDENTITY_SCHEMA, **_PIXELS})
    table = table.with_columns(patient=PATIENT).filter(READABLE).select(IMAGE_ID, *_PIXELS, "patient")
    return None if table["hu_hash"].null_count() == len(table) else table


def identical_groups(pixels: pl.DataFrame) -> pl.DataFrame:
    """Slices whose pixels another slice has too; those without tissue, or of which it is not known, are left out.

    Args:
        pixels: ImageID, patient, hu_hash, hu_max.

    Returns:
        `group` (1, 2, ... by the first ImageID of each), ImageID and patient, sorted by group and ImageID.
    """
    alike = pixels.filter(pl.col("hu_hash").is_not_null(), pl.col("hu_max") >= TISSUE_HU)
    alike = alike.filter(pl.len().over("hu_hash") > 1)
    group = pl.col(IMAGE_ID).min().over("hu_hash").rank("dense").cast(pl.Int64)
    return alike.select(IMAGE_ID, "patient", group=group).select("group", IMAGE_ID, "patient").sort("group", IMAGE_ID)


def linked_patients(groups: pl.DataFrame) -> pl.DataFrame:
    """Patients with identical slices, directly or through others.

    Slices without a label link as well: pixels that are the same tell of one patient under two names.

    Args:
        groups: of `identical_groups`.

    Returns:
        `patient` and `together`, the first patient of those who belong together; only who is linked to another.
    """
    names = groups["patient"].unique().sort()
    number = names.search_sorted(groups["patient"]).to_numpy()
    first = names.search_sorted(groups.select(pl.col("patient").first().over("group")).to_series()).to_numpy()
    edges = coo_array((np.ones(len(number), np.int8), (number, first)), shape=(len(names), len(names)))
    _, component = connected_components(edges, directed=False)
    linked = pl.DataFrame({"patient": names, "component": component})
    linked = linked.filter(pl.len().over("component") > 1)
    return linked.select("patient", together=pl.col("patient").min().over("component")).sort("patient")


def list_identical(groups: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The groups with the six labels, null where not known, and `labels_conflict`: whether they differ in the group."""
    listed = groups.join(labels.select(IMAGE_ID, *LABELS), on=IMAGE_ID, how="left", maintain_order="left")
    differ = pl.any_horizontal(pl.col(label).min() != pl.col(label).max() for label in LABELS)
    conflicts = listed.group_by("group").agg(labels_conflict=differ.fill_null(False))
    return listed.join(conflicts, on="group", how="left", maintain_order="left")


def count_identical(listed: pl.DataFrame, linked: pl.DataFrame) -> dict[str, int]:
    """Groups, their slices, patients who are linked to another, how many at most, and groups whose labels conflict."""
    return {
        "groups with identical pixels": listed["group"].n_unique(),
        "slices in them": len(listed),
        "patients linked": len(linked),
        "most linked together": max(linked.group_by("together").len()["len"], default=0),
        "groups with conflicting labels": listed.filter("labels_conflict")["group"].n_unique(),
    }
