"""Refuses to evaluate on data that training has seen."""

from collections.abc import Mapping
from typing import Literal

import polars as pl

from ich.errors import DataError
from ich.labels import IMAGE_ID, is_augmented, original_id

PATIENT = "patient"


def with_patients(table: pl.DataFrame, ledger: pl.DataFrame, name: str) -> pl.DataFrame:
    """Add patient, study and series to a table's rows; augmented images get those of their original.

    A slice whose header names no patient counts as a patient of its own: its study, series or itself.

    Raises:
        DataError: a slice is not in the ledger; `name` is the table's.
    """
    identity = ledger.select(IMAGE_ID, pl.col(PATIENT, "study", "series").cast(pl.String), known=True)
    rows = table.with_columns(original=pl.col(IMAGE_ID).map_elements(original_id, pl.String))
    joined = rows.join(identity, left_on="original", right_on=IMAGE_ID, how="left", maintain_order="left")
    lost = joined.filter(pl.col("known").is_null())
    if not lost.is_empty():
        raise DataError(
            f"{name}: {lost[IMAGE_ID][0]} is not in slices.parquet ({len(lost)} such slices); "
            "run preprocess and split again"
        )
    return joined.with_columns(pl.coalesce(PATIENT, "study", "series", "original").alias(PATIENT)).drop("known")


def refuse_leaks(tables: Mapping[str, pl.DataFrame], unit: Literal["patient", "slice"]) -> int:
    """Check that the splits share nothing.

    Args:
        tables: split -> table from `with_patients`; `train` is the only one that may hold augmented images.
        unit: what the split kept together.

    Returns:
        Patients that are in more than one split: 0, unless `unit` is slice.

    Raises:
        DataError: augmented images outside training, a slice in two splits, or, for patient splits, a patient.
    """
    for split, table in tables.items():
        augmented = table.filter(pl.col(IMAGE_ID).map_elements(is_augmented, pl.Boolean))
        if split != "train" and not augmented.is_empty():
            raise DataError(
                f"split {split} holds {len(augmented)} augmented images, e.g. {augmented[IMAGE_ID][0]}; only training "
                "may: run split and augment again"
            )
    everyone = pl.concat(
        [table.select("original", PATIENT).with_columns(split=pl.lit(split)) for split, table in tables.items()]
    )
    slices = _in_several_splits(everyone, "original")
    if not slices.is_empty():
        raise DataError(
            f"{len(slices)} slices are in more than one split, e.g. {slices['original'].sort()[0]} (itself or "
            "augmented); run split and augment again"
        )
    shared = _in_several_splits(everyone, PATIENT)
    if unit == "patient" and not shared.is_empty():
        example = everyone.join(shared, on=PATIENT)["original"].sort()[0]
        raise DataError(
            f"{len(shared)} patients are in more than one split (one of them has slice {example}); "
            "run split again with split.unit: patient"
        )
    return len(shared)


def _in_several_splits(everyone: pl.DataFrame, column: str) -> pl.DataFrame:
    return everyone.group_by(column).agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).select(column)
