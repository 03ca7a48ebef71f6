"""The file splits.json: what it must hold, its fingerprint, and which split each slice is in by it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

from ich.errors import DataError
from ich.files import read_json
from ich.labels import IMAGE_ID
from ich.prepare.patients import patients
from ich.workspace import SPLITS, Workspace


def read_assignment(workspace: Workspace) -> pl.DataFrame:
    """ImageID and split of every slice that `splits.json` covers.

    Raises:
        DataError: no split yet, its file is damaged, or the patients of a patient split are not known.
    """
    content = read_json(workspace.splits)
    if not is_a_split(content):
        raise DataError(f"{workspace.splits} does not hold a split; delete it and run split again")
    units = pl.DataFrame(
        list(content["assignment"].items()), schema={"unit": pl.String, "split": pl.String}, orient="row"
    )
    if content["unit"] == "slice":
        return units.rename({"unit": IMAGE_ID})
    return patients(workspace).rename({"patient": "unit"}).join(units, on="unit").select(IMAGE_ID, "split")


def is_a_split(content: Any) -> bool:
    """Whether this is what `split` writes, as far as others read it."""
    if not isinstance(content, dict) or content.get("unit") not in ("patient", "slice"):
        return False
    assignment = content.get("assignment")
    return isinstance(assignment, dict) and bool(assignment) and all(name in SPLITS for name in assignment.values())


def assignment_sha256(assignment: Mapping[str, str]) -> str:
    """SHA-256 (hexadecimal) over the sorted lines `unit,split`: equal if and only if the same units are split alike.

    In a shell: `jq -r '.assignment | to_entries[] | .key + "," + .value' splits.json | LC_ALL=C sort | sha256sum`.
    """
    lines = sorted(f"{unit},{split}\n" for unit, split in assignment.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
