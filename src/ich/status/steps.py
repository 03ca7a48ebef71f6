"""Every step of a config and both ledgers, as `ich status` shows them."""

from typing import Any

from ich.claim import holder
from ich.config import Experiment, StepName
from ich.stages import standing
from ich.status.ledgers import absence, ledger_paths, read_tally
from ich.workspace import Workspace


def collect(config: Experiment) -> dict[str, Any]:
    """State of every step in order, and the counts of the ledgers.

    Returns:
        workspace: its path; exists: whether it is there; works_here: which process works in it now, or None; steps: of
        each its name, `stale` (why `ich run` would do it again; None if it is up to date), the time of its last run
        (UTC; None without one), its counts, and how many chunks are finished of one that never ended (else None);
        ledgers: file name -> `ledgers.tally`, or a
        sentence where there is none.

    Raises:
        DataError: a ledger is damaged.
    """
    workspace = Workspace(config)
    stands = {name: standing(name, config) for name in config.steps}
    steps = [
        {"step": name, "stale": stale, "time": record.get("time"), "counts": record.get("counts", {}),
         "chunks": None if record else _chunks(name, workspace)}
        for name, (record, stale) in stands.items()
    ]  # fmt: skip
    ledgers: dict[str, Any] = {
        path.name: absence(name, path, config) or read_tally(name, workspace)
        for name, path in ledger_paths(workspace).items()
    }
    return {
        "workspace": str(workspace.root), "exists": workspace.root.is_dir(), "works_here": holder(workspace),
        "steps": steps, "ledgers": ledgers,
    }  # fmt: skip


def _chunks(name: StepName, workspace: Workspace) -> int | None:
    return sum(1 for _ in (workspace.parts / name).glob("[0-9]*.parquet")) or None
