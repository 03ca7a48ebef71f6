"""Sets labelled by study or patient: CQ500 with three readers, CT-ICH, and tables of one row a study."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ich.errors import DataError, one_line, visible
from ich.evaluation.elsewhere.agreement import agreement
from ich.evaluation.elsewhere.cells import ROW, by_name, read_cells
from ich.labels import LABELS, SUBTYPES, Label

READERS = ("R1", "R2", "R3")
# https://headctstudy.qure.ai/dataset: reads.csv has a column a reader and finding, R1:ICH for one.
_CQ500: dict[Label, str] = {
    "any": "ICH", "epidural": "EDH", "intraparenchymal": "IPH", "intraventricular": "IVH", "subarachnoid": "SAH",
    "subdural": "SDH",
}  # fmt: skip
_YES_NO = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_UNKNOWN = ("na", "nan", "n/a", "none", "null")
_STUDY = ("study", "name", "patient")


class StudyLabels(NamedTuple):
    """Labels of whole studies, which no slice's prediction is scored against.

    Attributes:
        table: row (in the file, the study's first), study, patient (null where not told) and the six labels (Boolean,
            null where unknown).
        form: `CQ500`, `CT-ICH` or `table`.
        by_patient: whether the studies have patients' names, which no message may hold.
        agreement: label -> `ich.evaluation.elsewhere.agreement.agreement`; None without readers.
        any_alone: studies with `any` and none of the subtypes: a bleed of a kind that the readers do not agree on.
        subtype_alone: studies with a subtype but without `any`: possible only by majority.
    """

    table: pl.DataFrame
    form: str
    by_patient: bool
    agreement: dict[str, Any] | None
    any_alone: int
    subtype_alone: int


def read_study_labels(path: Path) -> StudyLabels:
    """Read labels by study; the header tells which form they have.

    CQ500's reads.csv (`name`, `R1:ICH`, ...): what two of its three readers say. CT-ICH's hemorrhage_diagnosis.csv (a
    row a slice): a patient has what any slice has. A table: `study` (or `name`, `patient`) and the six labels, or the
    five subtypes, of which `any` is then the OR. A missing cell is unknown, never 0.

    Raises:
        DataError: no file, no such table, a study twice, a value other than 0 and 1, or labels that contradict each
            other. The message names the row (1 is the first after the header).
    """
    cells = read_cells(path, "labels")
    rows = cells.rename({column: name for name, column in by_name(cells, path, "labels").items()})
    if f"r1:{_CQ500['any'].lower()}" in rows.columns:
        return _from_readers(rows, path)
    if {"patientnumber", "no_hemorrhage"} <= set(rows.columns):
        return _from_slices(rows, path)
    return _from_table(rows, path)


def study_key(name: str) -> str:
    """What a study's name and its folder have in common: letters and digits, upper case; a number without zeros.

    CQ500's CQ500-CT-0 lies in the folder `CQ500CT0 CQ500CT0`: a name that is there twice counts once.
    """
    words = name.split()
    if len(words) == 2 and words[0] == words[1]:
        name = words[0]
    key = "".join(letter for letter in name.upper() if letter.isalnum())
    return (key.lstrip("0") or "0") if key.isdecimal() else key


def _from_readers(rows: pl.DataFrame, path: Path) -> StudyLabels:
    _refuse_lacking(rows, ["name", *(f"{who}:{what}".lower() for who in READERS for what in _CQ500.values())], path)
    _refuse_twice(rows, "name", path)
    known = _with_answers(rows, [f"{who}:{what}".lower() for who in READERS for what in _CQ500.values()], path)
    votes = {label: [pl.col(f"{who}:{what}".lower()) for who in READERS] for label, what in _CQ500.items()}
    table = known.select(
        ROW, pl.col("name").alias("study"), pl.lit(None, pl.String).alias("patient"),
        *(_majority(of).alias(label) for label, of in votes.items()),
    )  # fmt: skip
    reads = {label: known.select(of).cast(pl.Float64).to_numpy() for label, of in votes.items()}
    agreed: dict[str, Any] = {label: agreement(np.asarray(each), READERS) for label, each in reads.items()}
    return _counted(table, "CQ500", False, agreed)


def _majority(votes: list[pl.Expr]) -> pl.Expr:
    """What at least two say; unknown where no two are known to say the same."""
    yes, no = (pl.sum_horizontal((vote == said).fill_null(False).cast(pl.Int8) for vote in votes) for said in (1, 0))
    return pl.when(yes >= 2).then(True).when(no >= 2).then(False)


def _from_slices(rows: pl.DataFrame, path: Path) -> StudyLabels:
    """CT-ICH (Hssayeni et al., Data 5:14, 2020): each slice has its subtypes, and whether it has none."""
    _refuse_lacking(rows, SUBTYPES, path)
    known = _with_answers(rows, [*SUBTYPES, "no_hemorrhage"], path)
    has = pl.any_horizontal(pl.col(label).fill_null(False) for label in SUBTYPES)
    wrong = known.filter(pl.col("no_hemorrhage") & has)
    if not wrong.is_empty():
        raise DataError(
            f"labels {path}, row {wrong[ROW][0]}: No_Hemorrhage is 1 beside a subtype ({len(wrong)} such rows); "
            "correct them"
        )
    _refuse_unnamed(known, "patientnumber", path)
    slices = known.with_columns(any=pl.any_horizontal(*SUBTYPES, ~pl.col("no_hemorrhage")))
    table = slices.group_by(study="patientnumber", maintain_order=True).agg(
        pl.col(ROW).first(), pl.col(LABELS).any(ignore_nulls=False)
    )
    return _counted(table.select(ROW, "study", pl.col("study").alias("patient"), *LABELS), "CT-ICH", True, None)


def _from_table(rows: pl.DataFrame, path: Path) -> StudyLabels:
    by = next((name for name in _STUDY if name in rows.columns), None)
    if by is None:
        raise DataError(
            f"labels {path} have no column study (they have {one_line(', '.join(rows.columns[1:]))}); they need study "
            "and the six labels, or be CQ500's reads.csv, CT-ICH's hemorrhage_diagnosis.csv, or labels by image: "
            "ID,Label or ImageID and the six labels"
        )
    _refuse_lacking(rows, SUBTYPES, path)
    _refuse_twice(rows, by, path)
    known = _with_answers(rows, [label for label in LABELS if label in rows.columns], path)
    if "any" not in known.columns:
        known = known.with_columns(any=pl.any_horizontal(SUBTYPES))
    patient = pl.col("patient") if "patient" in rows.columns else pl.lit(None, pl.String)
    table = known.select(ROW, pl.col(by).alias("study"), patient.alias("patient"), *LABELS)
    wrong = known.filter(~pl.col("any") & pl.any_horizontal(pl.col(label).fill_null(False) for label in SUBTYPES))
    if not wrong.is_empty():
        raise DataError(
            f"labels {path}, row {wrong[ROW][0]}: any is 0 beside a subtype that is 1 ({len(wrong)} such rows); "
            "correct them"
        )
    return _counted(table, "table", by == "patient", None)


def _counted(table: pl.DataFrame, form: str, by_patient: bool, agreed: dict[str, Any] | None) -> StudyLabels:
    none = ~pl.any_horizontal(SUBTYPES)
    counts = table.select(alone=pl.col("any") & none, without=~pl.col("any") & ~none).sum()
    return StudyLabels(table, form, by_patient, agreed, int(counts["alone"][0]), int(counts["without"][0]))


def _with_answers(rows: pl.DataFrame, columns: list[str], path: Path) -> pl.DataFrame:
    """The columns as Boolean, null where unknown."""
    for column in columns:
        text = pl.col(column).str.to_lowercase()
        bad = rows.filter(~text.is_in([*_YES_NO, *_UNKNOWN]))
        if not bad.is_empty():
            raise DataError(
                f"labels {path}, row {bad[ROW][0]}: {column} must be 0, 1 or empty, got "
                f"{visible(repr(bad[column][0]))[:80]} ({len(bad)} such rows); correct it"
            )
    answers = pl.col(columns).str.to_lowercase().replace_strict(_YES_NO, default=None, return_dtype=pl.Boolean)
    return rows.with_columns(answers)


def _refuse_lacking(rows: pl.DataFrame, columns: list[str] | tuple[str, ...], path: Path) -> None:
    if lacking := [column for column in columns if column not in rows.columns]:
        raise DataError(
            f"labels {path} lack the column {', '.join(lacking)} (they have {one_line(', '.join(rows.columns[1:]))}); "
            "add it, empty where it is not known"
        )


def _refuse_unnamed(rows: pl.DataFrame, column: str, path: Path) -> None:
    unnamed = rows.filter(pl.col(column).is_null())
    if not unnamed.is_empty():
        raise DataError(
            f"labels {path}, row {unnamed[ROW][0]}: {column} is empty ({len(unnamed)} such rows); name each"
        )


def _refuse_twice(rows: pl.DataFrame, column: str, path: Path) -> None:
    _refuse_unnamed(rows, column, path)
    keys = rows.select(ROW, key=pl.col(column).map_elements(study_key, pl.String))
    again = keys.filter(~pl.col("key").is_first_distinct())
    if not again.is_empty():
        first = keys.filter(pl.col("key") == again["key"][0])[ROW][0]
        raise DataError(
            f"labels {path}, row {again[ROW][0]}: the study of row {first} again ({len(again)} such rows); each "
            "needs one row"
        )
