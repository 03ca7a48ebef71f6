"""Refuses to evaluate on data that training, or the choice of thresholds, has seen."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import polars as pl

from ich.errors import DataError
from ich.labels import IMAGE_ID, is_augmented, original_id
from ich.prepare.identical import Identical
from ich.prepare.patients import PATIENT


class Shared(NamedTuple):
    """What splits by slice have in common; splits by patient have nothing.

    Attributes:
        patients: who have slices in more than one split.
        pixels: groups of slices with identical pixels that lie in more than one; None where no hashes are known.
    """

    patients: int
    pixels: int | None


def with_patients(table: pl.DataFrame, ledger: pl.DataFrame, name: str) -> pl.DataFrame:
    """Add patient, study and series to a table's rows; augmented images get those of their original.

    A slice whose header names no patient has that of its study or series, or counts as one of its own
    (`ich.prepare.patients.PATIENT`, as in the split).

    Raises:
        DataError: a slice is not in the ledger; `name` is the table's.
    """
    named = ledger.with_columns(pl.col("patient", "study", "series").cast(pl.String))
    identity = named.with_columns(patient=PATIENT).select(IMAGE_ID, "patient", "study", "series", known=True)
    rows = table.with_columns(original=pl.col(IMAGE_ID).map_elements(original_id, pl.String))
    joined = rows.join(identity, left_on="original", right_on=IMAGE_ID, how="left", maintain_order="left")
    lost = joined.filter(pl.col("known").is_null())
    if not lost.is_empty():
        raise DataError(
            f"{name}: {lost[IMAGE_ID][0]} is not in slices.parquet ({len(lost)} such slices); "
            "run preprocess and split again"
        )
    return joined.drop("known")


def refuse_leaks(
    tables: Mapping[str, pl.DataFrame], unit: Literal["patient", "slice"], identical: Identical | None = None
) -> Shared:
    """Check that the splits share nothing.

    Args:
        tables: split -> table from `with_patients`; `train` is the only one that may hold augmented images.
        unit: what the split kept together.
        identical: slices with identical pixels, of `ich.prepare.identical.find_identical`; None where the ledger has
            no hashes: then nobody looks for them.

    Returns:
        What is in more than one split: nothing, unless `unit` is slice.

    Raises:
        DataError: augmented images outside training, a slice in two splits, or, for patient splits, a patient or
            slices with identical pixels.
    """
    for split, table in tables.items():
        augmented = table.filter(pl.col(IMAGE_ID).map_elements(is_augmented, pl.Boolean))
        if split != "train" and not augmented.is_empty():
            raise DataError(
                f"split {split} holds {len(augmented)} augmented images, e.g. {augmented[IMAGE_ID][0]}; only training "
                "may: run split and augment again"
            )
    everyone = pl.concat(
        [table.select("original", "patient").with_columns(split=pl.lit(split)) for split, table in tables.items()]
    )
    slices = _in_several_splits(everyone, "original")
    if not slices.is_empty():
        raise DataError(
            f"{len(slices)} slices are in more than one split, e.g. {slices['original'].sort()[0]} (itself or "
            "augmented); run split and augment again"
        )
    shared = _in_several_splits(everyone, "patient")
    if unit == "patient" and not shared.is_empty():
        example = everyone.join(shared, on="patient")["original"].sort()[0]
        raise DataError(
            f"{len(shared)} patients are in more than one split (one of them has slice {example}); "
            "run split again with split.unit: patient"
        )
    return Shared(len(shared), _shared_pixels(everyone, unit, identical))


def _shared_pixels(everyone: pl.DataFrame, unit: str, identical: Identical | None) -> int | None:
    if identical is None:
        return None
    grouped = everyone.join(identical.groups, left_on="original", right_on=IMAGE_ID)
    shared = _in_several_splits(grouped, "group")
    if unit == "patient" and not shared.is_empty():
        worst = grouped.join(shared, on="group").filter(pl.col("group") == pl.col("group").min())
        ends = worst.sort("original").unique("split", keep="first", maintain_order=True).head(2)
        names = " and ".join(f"{name} ({split})" for name, split in ends.select("original", "split").iter_rows())
        raise DataError(
            f"{len(shared)} groups of slices with identical pixels are in more than one split, e.g. {names}; set "
            "index.hash: true and run index and split again without split.published: patients who share a slice then "
            "stay together"
        )
    return len(shared)


def _in_several_splits(everyone: pl.DataFrame, column: str) -> pl.DataFrame:
    return everyone.group_by(column).agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).select(column)


def ids_sha256(image_ids: Iterable[str]) -> str:
    """SHA-256, hexadecimal, of ImageIDs, sorted, each with a line break after it: names a set of slices."""
    return hashlib.sha256("".join(f"{image_id}\n" for image_id in sorted(image_ids)).encode()).hexdigest()


def refuse_fitted_on_test(
    what: str, fitted_on: Mapping[str, Any], validation: Iterable[str], test: Iterable[str]
) -> None:
    """Check that thresholds or a calibration come from the validation slices, and from nothing else.

    Slices of an unknown set may be test slices too, so that only the very set of validation slices passes.

    Args:
        what: names it in the message: `thresholds.json`, `the calibration`.
        fitted_on: `split`, and `image_ids_sha256` of `ids_sha256`.
        validation: ImageIDs, as the test's, which it has none in common with (`refuse_leaks`).
        test: ImageIDs.

    Raises:
        DataError: it was fitted on test slices, or that cannot be excluded.
    """
    split, found = fitted_on.get("split"), fitted_on.get("image_ids_sha256")
    validation, test = set(validation), set(test)
    fix = "fit it again on the validation slices"
    if split == "test" or found == ids_sha256(test):
        raise DataError(f"{what} was fitted on the test slices, which then score themselves; {fix}")
    if both := validation & test:
        raise DataError(f"{len(both)} slices are both in validation and in test, e.g. {min(both)}; run split again")
    if split != "val" or found != ids_sha256(validation):
        raise DataError(
            f"{what} was fitted on split {split} with other slices than the validation of this split: that test slices "
            f"were among them cannot be excluded; {fix}"
        )
