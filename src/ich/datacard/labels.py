"""Prevalence of the six labels: of all labelled slices, of the splits, of what is prepared; and their overlap."""

from typing import Any

import polars as pl

from ich.errors import DataError
from ich.labels import AUGMENTED, IMAGE_ID, LABELS, SUBTYPES, counts, read_table
from ich.prepare.patients import patients
from ich.prepare.splits_file import read_assignment
from ich.workspace import SPLITS, Workspace

NAMES = {"train": "training", "val": "validation", "test": "test"}


def known_patients(workspace: Workspace) -> pl.DataFrame | None:
    """ImageID and patient of every slice with a readable header; None where neither index nor preprocess has run."""
    try:
        return patients(workspace)
    except DataError:  # of a damaged ledger, the sections that count it tell
        return None


def groups(workspace: Workspace, labels: pl.DataFrame, owners: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Slices, patients and positives of each group of slices.

    Args:
        workspace: whose splits and tables are read, as far as they are there.
        labels: ImageID and the six labels of every labelled slice.
        owners: ImageID and patient; None if they are not known.
    """
    found = [("all labelled", labels)]
    if workspace.splits.is_file():
        assigned = labels.join(read_assignment(workspace), on=IMAGE_ID, how="inner")
        found += [(f"{NAMES[name]}, as split", assigned.filter(pl.col("split") == name)) for name in SPLITS]
    for name in SPLITS:
        if not workspace.table(name).is_file():
            continue
        table = read_table(workspace.table(name))
        natural = natural_rows(table)
        found.append((f"{NAMES[name]}, prepared", natural))
        if len(natural) < len(table):
            found.append((f"{NAMES[name]}, with augmented copies", table))
    return [{"group": name} | _positives(rows, owners) for name, rows in found]


def natural_rows(table: pl.DataFrame) -> pl.DataFrame:
    """Rows of a training table that are not augmented copies."""
    return table.filter(~pl.col(IMAGE_ID).str.contains(AUGMENTED.pattern))


def _positives(table: pl.DataFrame, owners: pl.DataFrame | None) -> dict[str, Any]:
    """slices, patients (None if not known) and of how many slices, and positives and prevalence of each label."""
    positives = counts(table)
    owned: pl.DataFrame | None = None
    known = 0
    if owners is not None:
        original = table.with_columns(pl.col(IMAGE_ID).str.replace(AUGMENTED.pattern, ""))
        joined = original.join(owners, on=IMAGE_ID, how="inner")
        owned, known = joined.group_by("patient").agg(pl.col(label).max() for label in LABELS), len(joined)
    return {
        "slices": len(table),
        "patients": None if owned is None else len(owned),
        "slices_of_known_patients": known,
        "labels": {
            label: {
                "slices": positives[label],
                "prevalence": positives[label] / len(table) if len(table) else None,
                "patients": None if owned is None else int(owned[label].sum()),
            }
            for label in LABELS
        },
    }


def overlap(labels: pl.DataFrame) -> dict[str, Any]:
    """Which subtypes come together.

    Returns:
        together: subtype -> subtype -> slices that are positive for both (for one, with itself); number: how many
        slices have 0, 1, ... 5 subtypes.
    """
    flags = labels.select(SUBTYPES).to_numpy().astype("int64")
    together = flags.T @ flags
    number = labels.select(pl.sum_horizontal(pl.col(SUBTYPES).cast(pl.Int64)).alias("n"))["n"].value_counts()
    found = dict(number.iter_rows())
    return {
        "together": {
            one: {other: int(together[row, column]) for column, other in enumerate(SUBTYPES)}
            for row, one in enumerate(SUBTYPES)
        },
        "number": {str(subtypes): found.get(subtypes, 0) for subtypes in range(len(SUBTYPES) + 1)},
    }
