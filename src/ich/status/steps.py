"""Every step of a config and both ledgers, as `ich status` shows them."""

from typing import Any

from ich.config import Experiment
from ich.stages import standing
from ich.status.ledgers import absence, ledger_paths, read_account
from ich.workspace import Workspace


def collect(config: Experiment) -> dict[str, Any]:
    """State of every step in order, and the counts of the ledgers.

    Returns:
        steps: of each its name, `stale` (why `ich run` would do it again; None if it is up to date), the time of its
        last run (UTC; None without one), and its counts; ledgers: file name -> `ledgers.account`, or a sentence where
        there is none.

    Raises:
        DataError: a ledger is damaged.
    """
    stands = {name: standing(name, config) for name in config.steps}
    steps = [
        {"step": name, "stale": stale, "time": record.get("time"), "counts": record.get("counts", {})}
        for name, (record, stale) in stands.items()
    ]
    workspace = Workspace(config)
    ledgers: dict[str, Any] = {
        path.name: absence(name, path, config) or read_account(name, workspace)
        for name, path in ledger_paths(workspace).items()
    }
    return {"workspace": str(workspace.root), "steps": steps, "ledgers": ledgers}
