"""What became of every slice that index and preprocess were asked for, counted, and whether the counts add up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl

from ich.config import Experiment, StepName
from ich.files import read_parquet
from ich.labels import IMAGE_ID
from ich.prepare.ledger import STATUSES, reason_counts, repair_counts, status_counts
from ich.stages import read_record
from ich.workspace import Workspace

LedgerStep = Literal["index", "preprocess"]
_COLUMNS: Mapping[str, Any] = {
    IMAGE_ID: pl.String,
    "status": pl.String,
    "reason": pl.String,
    "repairs": pl.List(pl.String),
}


def absence(step: StepName, path: Path, config: Experiment) -> str | None:
    """Why there is nothing to read of what a step writes; None if there is.

    An index that the config does not ask for is left from an earlier config, and may be of other files.
    """
    in_steps = step in config.steps
    if path.is_file() and (in_steps or step != "index"):
        return None
    return f"{path.name} is not there yet: {step} writes it" if in_steps else f"{step} is not in steps"


def ledger_paths(workspace: Workspace) -> dict[LedgerStep, Path]:
    """The ledger of each step that keeps one."""
    return {"index": workspace.index, "preprocess": workspace.slices}


def read_tally(step: LedgerStep, workspace: Workspace) -> dict[str, Any]:
    """`tally` of index.parquet or slices.parquet, against the number of slices that its step reported.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    seen = read_record(step, workspace).get("counts", {}).get("slices")
    return tally(step, read_parquet(ledger_paths(workspace)[step], _COLUMNS), seen)


def tally(step: str, table: pl.DataFrame, seen: int | None = None) -> dict[str, Any]:
    """Counts of a ledger by status, by repair and by reason, commonest first.

    Args:
        step: that wrote it.
        table: ImageID, status, reason, repairs (lists of names; null where pixels were not read).
        seen: slices that the step was asked for; None: the rows of the table.

    Returns:
        step; seen; rows; statuses: slices of each; twice: rows of an ImageID that has one already; adds_up: whether
        every slice seen has one row, with one of the four statuses; repairs: name -> slices; reasons: status, reason,
        slices, and the first ids of each.
    """
    seen = len(table) if seen is None else seen
    statuses = status_counts(table)
    twice = len(table) - table[IMAGE_ID].n_unique()
    return {
        "step": step,
        "seen": seen,
        "rows": len(table),
        "statuses": statuses,
        "twice": twice,
        "adds_up": sum(statuses.values()) == len(table) == seen and not twice,
        "repairs": repair_counts(table),
        "reasons": reason_counts(table).to_dicts(),
    }


def sum_line(counted: Mapping[str, Any]) -> str:
    """`adds up: 918 = 917 ok + 0 repaired + 0 quarantined + 1 missing`, or that it does not, and the fix."""
    total = " + ".join(f"{counted['statuses'][status]:,} {status}" for status in STATUSES)
    if counted["adds_up"]:
        return f"adds up: {counted['seen']:,} = {total}"
    twice = f", {counted['twice']:,} of them for a slice that has one already" if counted["twice"] else ""
    return (
        f"the ledger of {counted['step']} does not add up: {counted['seen']:,} slices seen, {counted['rows']:,} rows"
        f"{twice}; {total} = {sum(counted['statuses'].values()):,}; run `ich {counted['step']}` again"
    )


def that_do_not_add_up(accounts: Mapping[str, Any]) -> list[str]:
    """A line for each `tally` whose counts are wrong; what stands in place of one is passed over."""
    counted = [found for found in accounts.values() if isinstance(found, Mapping) and "adds_up" in found]
    return [sum_line(found) for found in counted if not found["adds_up"]]
