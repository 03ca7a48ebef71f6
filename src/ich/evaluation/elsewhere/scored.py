"""Predictions from elsewhere as arrays to be scored: on a workspace's splits, or on a file of labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.errors import DataError
from ich.evaluation.elsewhere.matching import IDENTITY, Matched, match, match_studies
from ich.evaluation.elsewhere.prediction_table import image_id, read_predictions
from ich.evaluation.elsewhere.study_labels import read_study_labels
from ich.labels import IMAGE_ID, LABELS, read_long_labels, read_table
from ich.prepare.patients import PATIENT


class Elsewhere(NamedTuple):
    """Labels and other people's probabilities, a row an image or a study; labels in the order of LABELS.

    Attributes:
        level: what a row is.
        ids: (n,) ImageIDs, or names of studies.
        patients: (n,) whose each is, by the rule of the split (`ich.prepare.patients.PATIENT`): without a patient, its
            study, series or itself. A study without one counts as a patient of its own.
        series: (n,) never empty: an image without one, and a study, is a series of its own.
        truth: (n, 6) bool; False where it is not known.
        known: (n, 6) bool: where it is.
        probabilities: (n, 6) float64 in [0, 1].
        patients_known: whether the patients are told for images, so that intervals by patient may be given; True for
            studies.
        incoherent: predictions with `any` below a subtype; scored as they are.
        extra: predictions without a label; left out.
        unanimous: (n,) bool: whether all readers agree on all six labels; None without readers.
        agreement: of the readers, label -> `ich.evaluation.elsewhere.agreement.agreement`; None without.
        notes: what the report should tell of the labels, a line each.
    """

    level: Literal["slice", "study"]
    ids: NDArray[np.str_]
    patients: NDArray[np.str_]
    series: NDArray[np.str_]
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    patients_known: bool
    incoherent: int
    extra: int
    unanimous: NDArray[np.bool_] | None = None
    agreement: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def on_splits(predictions: Path, tables: Mapping[str, pl.DataFrame]) -> dict[str, Elsewhere]:
    """Score predictions on a workspace's splits.

    Args:
        predictions: a file of `read_predictions`.
        tables: split -> table of `ich.evaluation.leakage.with_patients`; each of its images needs a prediction.
            But a validation of which there is none is left out: other people's tables often hold test slices only.

    Returns:
        Each split's; `extra` counts predictions of images in none of them.

    Raises:
        DataError: the file cannot be used (`read_predictions`, `match`).
    """
    found = read_predictions(predictions)
    tables = {split: table for split, table in tables.items() if split == "test" or _any_of(table, found)}
    everyone = pl.concat(
        [table.select(IMAGE_ID, *IDENTITY, *LABELS, scored=pl.lit(split)) for split, table in tables.items()]
    )
    extra = match(found, everyone).extra
    return {split: _by_slice(match(found, table), extra) for split, table in tables.items()}


def _any_of(table: pl.DataFrame, predictions: pl.DataFrame) -> bool:
    wanted = table.select(key=image_id(pl.col(IMAGE_ID)))
    return not wanted.join(predictions, left_on="key", right_on=IMAGE_ID, how="semi").is_empty()


def on_labels(predictions: Path, labels: Path, subset: bool = False) -> Elsewhere:
    """Score predictions on a file of labels: the competition's `ID,Label`, our wide table, or labels by study.

    Our wide table may have the columns patient, study and series too. Sets labelled by study are never scored by slice.

    Args:
        predictions: a file of `read_predictions`.
        labels: CSV; its header tells the form.
        subset: leave studies without predictions out instead of refusing.

    Raises:
        DataError: one of the files cannot be used, or they do not fit (`match`, `match_studies`).
    """
    found = read_predictions(predictions)
    by_image = _labels_by_image(labels)
    if by_image is not None:
        matched = match(found, by_image)
        return _by_slice(matched, matched.extra)
    by_study = read_study_labels(labels)
    matched = match_studies(found, by_study, subset)
    counted = {
        f"{by_study.any_alone} studies have any, but no subtype": by_study.any_alone,
        f"{by_study.subtype_alone} studies have a subtype, but not any, by majority": by_study.subtype_alone,
        f"{len(matched.missing)} studies have no predictions and are left out: {', '.join(matched.missing)}":
            len(matched.missing),
    }  # fmt: skip
    notes = (f"labels of {by_study.form}, by study", *(text for text, count in counted.items() if count))
    table = matched.table
    studies = table["study"].to_numpy().astype(str)
    return Elsewhere(
        "study", studies, table.select(pl.coalesce("patient", "study")).to_series().to_numpy().astype(str), studies,
        *_arrays(table), True, matched.incoherent, matched.extra,
        table["unanimous"].to_numpy().astype(bool) if by_study.agreement else None, by_study.agreement, notes,
    )  # fmt: skip


def _labels_by_image(path: Path) -> pl.DataFrame | None:
    """ImageID and labels, with patient, study and series where the file has them; None for other files."""
    if not path.is_file():
        raise DataError(f"labels {path} do not exist; name the CSV file of the labels")
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = [name.strip().strip('"') for name in file.readline().split(",")]
    if {"ID", "Label"} <= set(header):
        return read_long_labels(path)[0]
    if IMAGE_ID not in header:
        return None
    labels = read_table(path)
    there = [name for name in IDENTITY if name in header]
    return labels.with_columns(pl.read_csv(path, columns=there, infer_schema=False, glob=False)) if there else labels


def _by_slice(matched: Matched, extra: int) -> Elsewhere:
    table = matched.table.with_columns(pl.col("patient", "study", "series").replace("", None))
    return Elsewhere(
        "slice",
        table[IMAGE_ID].to_numpy().astype(str),
        table.select(PATIENT).to_series().to_numpy().astype(str),
        table.select(pl.coalesce("series", IMAGE_ID)).to_series().to_numpy().astype(str),
        *_arrays(table),
        table["patient"].null_count() < len(table),
        matched.incoherent,
        extra,
    )


def _arrays(table: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Truth, whether it is known, and probabilities, each (n, 6)."""
    truth = table.select(f"label_{label}" for label in LABELS)
    return (
        truth.fill_null(False).to_numpy(),
        truth.select(pl.all().is_not_null()).to_numpy(),
        table.select(f"probability_{label}" for label in LABELS).to_numpy(),
    )
