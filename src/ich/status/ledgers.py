"""What became of every slice that index and preprocess were asked for, counted, and whether the counts add up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ich.labels import IMAGE_ID
from ich.prepare.ledger import STATUSES, status_counts
from ich.workspace import read_parquet

EXAMPLES = 3  # ids that are named of each reason
_COLUMNS = {IMAGE_ID: pl.String, "status": pl.String, "reason": pl.String}
_REPAIRS = {"repairs": pl.List(pl.String)}


def read_account(path: Path, seen: int | None, *, repairs: bool) -> dict[str, Any]:
    """`account` of index.parquet or slices.parquet.

    Args:
        path: of the ledger.
        seen: slices that its step reported; None where there is no record of it: the rows that there are.
        repairs: whether it has that column; index.parquet has not, as a header shows no repair.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    columns: Mapping[str, Any] = _COLUMNS | (_REPAIRS if repairs else {})
    return account(read_parquet(path, columns), seen)


def account(table: pl.DataFrame, seen: int | None = None) -> dict[str, Any]:
    """Counts of a ledger by status, by repair and by reason, commonest first.

    Args:
        table: ImageID, status, reason; repairs (lists of names), if it has them.
        seen: slices that the step was asked for; None: the rows of the table.

    Returns:
        seen; rows; statuses: slices of each; twice: rows of an ImageID that has one already; adds_up: whether every
        slice seen has one row, with one of the four statuses; repairs: name -> slices; reasons: status, reason, slices,
        and the first ids of each.
    """
    seen = len(table) if seen is None else seen
    statuses = status_counts(table)
    twice = len(table) - table[IMAGE_ID].n_unique()
    return {
        "seen": seen,
        "rows": len(table),
        "statuses": statuses,
        "twice": twice,
        "adds_up": sum(statuses.values()) == len(table) == seen and not twice,
        "repairs": _repairs(table),
        "reasons": _reasons(table),
    }


def sum_line(name: str, counted: Mapping[str, Any]) -> str:
    """`adds up: 918 = 917 ok + 0 repaired + 0 quarantined + 1 missing`, or that it does not, and the fix."""
    total = " + ".join(f"{counted['statuses'][status]:,} {status}" for status in STATUSES)
    if counted["adds_up"]:
        return f"adds up: {counted['seen']:,} = {total}"
    step = "index" if name == "index.parquet" else "preprocess"
    twice = f", {counted['twice']:,} of them for a slice that has one already" if counted["twice"] else ""
    return (
        f"{name} does not add up: {counted['seen']:,} slices seen, {counted['rows']:,} rows{twice}; {total} = "
        f"{sum(counted['statuses'].values()):,}; run `ich {step}` again"
    )


def that_do_not_add_up(accounts: Mapping[str, Any]) -> list[str]:
    """A line for each ledger (file name -> `account`, or a sentence where there is none) whose counts are wrong."""
    counted = {name: found for name, found in accounts.items() if isinstance(found, Mapping)}
    return [sum_line(name, found) for name, found in counted.items() if not found["adds_up"]]


def _repairs(table: pl.DataFrame) -> dict[str, int]:
    if "repairs" not in table.columns:
        return {}
    names = table.select(pl.col("repairs").explode(empty_as_null=True)).drop_nulls()
    found = names.group_by("repairs").len().sort(["len", "repairs"], descending=[True, False])
    return dict(found.iter_rows())


def _reasons(table: pl.DataFrame) -> list[dict[str, Any]]:
    found = (
        table.filter(pl.col("reason").is_not_null())
        .group_by("status", "reason", maintain_order=True)
        .agg(slices=pl.len(), examples=pl.col(IMAGE_ID).head(EXAMPLES))
        .sort("slices", descending=True, maintain_order=True)
    )
    return found.to_dicts()
