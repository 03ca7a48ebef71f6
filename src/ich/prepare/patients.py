"""Whose each slice is, from the headers that `index` or `preprocess` read."""

from pathlib import Path

import polars as pl

from ich.errors import DataError
from ich.files import read_parquet
from ich.labels import IMAGE_ID
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.workspace import Workspace

READABLE = pl.col("status").is_in(["ok", "repaired"])


def _patient_of(group: str) -> pl.Expr:
    """The patient of another slice of the same study or series."""
    return pl.when(pl.col(group).is_not_null()).then(pl.col("patient").drop_nulls().first().over(group))


# Over all rows of a ledger, before any are left out: one whose pixels are damaged may tell whose the others are.
# Without PatientID: that of another slice of its study or series; if none has one, the study, series or slice itself.
PATIENT = pl.coalesce("patient", _patient_of("study"), _patient_of("series"), "study", "series", IMAGE_ID)


def patients(workspace: Workspace) -> pl.DataFrame:
    """ImageID and patient (`PATIENT`) of every slice whose header could be read.

    Raises:
        DataError: neither `index` nor `preprocess` has run, or what it wrote is damaged.
    """
    ledger = known_ledger(workspace)
    if ledger is None:
        raise DataError(
            "patients are not known yet: run `ich index` or `ich preprocess` first, or set split.unit: slice"
        )
    everything = read_parquet(ledger, IDENTITY_SCHEMA).with_columns(patient=PATIENT)
    return everything.filter(READABLE).select(IMAGE_ID, "patient")


def known_ledger(workspace: Workspace) -> Path | None:
    """The ledger that tells whose each slice is: that of `index` where the config has this step, or of `preprocess`."""
    # An index that the config does not ask for is left from an earlier config, and may be of other files.
    ledgers = [workspace.index] if "index" in workspace.config.steps else []
    return next((ledger for ledger in [*ledgers, workspace.slices] if ledger.exists()), None)
