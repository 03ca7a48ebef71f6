"""Predictions from elsewhere as arrays to be scored: on a workspace's splits, or on a file of labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.evaluation.elsewhere.cells import by_name, read_cells, refuse_unreadable
from ich.evaluation.elsewhere.matching import IDENTITY, Matched, match, match_studies
from ich.evaluation.elsewhere.prediction_table import image_id, read_predictions
from ich.evaluation.elsewhere.study_labels import StudyLabels, read_study_labels
from ich.labels import IMAGE_ID, LABELS, checked_table, read_long_labels
from ich.prepare.patients import PATIENT

_IMAGE = ("imageid", "image_id", "id")  # names of a label file's column of images, in any case


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
        patients_known: whether the patient of every image is told, so that intervals by patient may be given; True for
            studies.
        series_known: whether a series is told of any image; False for studies.
        extra: predictions without a label; left out.
        agreement: of the readers, label -> `ich.evaluation.elsewhere.agreement.agreement`; None without.
        notes: what the report should tell of the labels, a sentence each.
    """

    level: Literal["slice", "study"]
    ids: NDArray[np.str_]
    patients: NDArray[np.str_]
    series: NDArray[np.str_]
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    patients_known: bool
    series_known: bool
    extra: int
    agreement: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def incoherent(self) -> int:
        """Rows with `any` below a subtype; they are scored as they are."""
        return int((self.probabilities[:, :1] < self.probabilities[:, 1:]).any(axis=1).sum())


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
    extra = match(found, everyone, predictions).extra
    return {split: _by_slice(match(found, table, predictions), extra) for split, table in tables.items()}


def _any_of(table: pl.DataFrame, predictions: pl.DataFrame) -> bool:
    wanted = table.select(key=image_id(pl.col(IMAGE_ID)))
    return not wanted.join(predictions, left_on="key", right_on=IMAGE_ID, how="semi").is_empty()


def on_labels(predictions: Path, labels: Path) -> Elsewhere:
    """Score predictions on a file of labels: the competition's `ID,Label`, our wide table, or labels by study.

    Our wide table may have the columns patient, study and series too; all its labels must be there. In labels by study
    an empty one is unknown. Sets labelled by study are never scored by slice.

    Args:
        predictions: a file of `read_predictions`.
        labels: CSV; its header tells the form, in any case.

    Raises:
        DataError: one of the files cannot be used, or they do not fit (`match`, `match_studies`).
    """
    found = read_predictions(predictions)
    by_image = _labels_by_image(labels)
    if by_image is not None:
        matched = match(found, by_image, predictions)
        return _by_slice(matched, matched.extra)
    by_study = read_study_labels(labels)
    matched = match_studies(found, by_study, predictions)
    table = matched.table
    studies = table["study"].to_numpy().astype(str)
    return Elsewhere(
        "study", studies, table.select(pl.coalesce("patient", "study")).to_series().to_numpy().astype(str), studies,
        *_arrays(table), True, False, matched.extra, by_study.agreement,
        (*_notes(by_study), *_unknown_patients(table)),
    )  # fmt: skip


def _notes(labels: StudyLabels) -> tuple[str, ...]:
    form = "a table with a row a study" if labels.form == "table" else labels.form
    counted = (
        (labels.any_alone, "any, but no subtype."), (labels.subtype_alone, "a subtype, but not any, by majority.")
    )  # fmt: skip
    told = (f"{'1 study has' if n == 1 else f'{n:,} studies have'} {what}" for n, what in counted if n)
    return f"Labels are of whole studies, from {form}.", *told


def _unknown_patients(table: pl.DataFrame) -> list[str]:
    """What it means that studies name no patient."""
    unknown = table["patient"].null_count()
    if not unknown:
        return []
    which = "Patients are not known" if unknown == len(table) else f"The patients of {unknown:,} studies are not known"
    alone = "each study" if unknown == len(table) else "each of these"
    return [f"{which}: {alone} counts as a patient of its own; where a patient has several, intervals are too narrow."]


def _labels_by_image(path: Path) -> pl.DataFrame | None:
    """ImageID and labels, with patient, study and series where the file has them; None for other files."""
    refuse_unreadable(path, "labels")
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = {name.strip().strip('"').strip().lower() for name in file.readline().split(",")}
    if {"id", "label"} <= header:
        return read_long_labels(path)[0]
    if header.isdisjoint(_IMAGE):
        return None
    rows = read_cells(path, "labels")
    names = by_name(rows, path, "labels")
    image = next(name for name in _IMAGE if name in names)
    wanted = {names[image]: IMAGE_ID} | {names[label]: label for label in LABELS if label in names}
    identity = [pl.col(names[name]).alias(name) for name in IDENTITY if name in names]
    return checked_table(rows.rename(wanted), path, "correct it").with_columns(rows.select(identity))


def _by_slice(matched: Matched, extra: int) -> Elsewhere:
    table = matched.table.with_columns(pl.col("patient", "study", "series").replace("", None))
    told = len(table) - table["patient"].null_count()
    partly = f"Patients are known of {told:,} of {len(table):,} slices only: counted as unknown."
    return Elsewhere(
        "slice",
        table[IMAGE_ID].to_numpy().astype(str),
        table.select(PATIENT).to_series().to_numpy().astype(str),
        table.select(pl.coalesce("series", IMAGE_ID)).to_series().to_numpy().astype(str),
        *_arrays(table),
        told == len(table),
        table["series"].null_count() < len(table),
        extra,
        notes=(partly,) if 0 < told < len(table) else (),
    )


def _arrays(table: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Truth, whether it is known, and probabilities, each (n, 6)."""
    truth = table.select(f"label_{label}" for label in LABELS)
    return (
        truth.fill_null(False).to_numpy(),
        truth.select(pl.all().is_not_null()).to_numpy(),
        table.select(f"probability_{label}" for label in LABELS).to_numpy(),
    )
