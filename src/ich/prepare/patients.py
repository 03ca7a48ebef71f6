"""Whose each slice is, from the headers that `index` or `preprocess` read."""

from pathlib import Path

import polars as pl

from ich.errors import DataError
from ich.labels import IMAGE_ID
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.workspace import Workspace, read_parquet

READABLE = pl.col("status").is_in(["ok", "repaired"])
PATIENT = pl.coalesce("patient", "study", "series", IMAGE_ID)  # without PatientID: its study, series or itself


def patients(workspace: Workspace) -> pl.DataFrame:
    """ImageID and patient of every slice whose header could be read; without PatientID, its study, series or itself.

    Raises:
        DataError: neither `index` nor `preprocess` has run, or what it wrote is damaged.
    """
    ledger = known_ledger(workspace)
    if ledger is None:
        raise DataError(
            "patients are not known yet: run `ich index` or `ich preprocess` first, or set split.unit: slice"
        )
    return read_parquet(ledger, IDENTITY_SCHEMA).filter(READABLE).select(IMAGE_ID, patient=PATIENT)


def known_ledger(workspace: Workspace) -> Path | None:
    """The ledger that tells whose each slice is: that of `index` where the config has this step, or of `preprocess`."""
    # An index that the config does not ask for is left from an earlier config, and may be of other files.
    ledgers = [workspace.index] if "index" in workspace.config.steps else []
    return next((ledger for ledger in [*ledgers, workspace.slices] if ledger.exists()), None)
