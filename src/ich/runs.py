"""`ich runs`: trainings of a workspace and evaluations of named models, from their files; Keras is not imported."""

import csv
import json
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from ich.files import read_whole
from ich.workspace import NOT_FINITE, Workspace

Row = dict[str, str]


def runs_of(workspace: Workspace) -> list[dict[str, Any]]:
    """Every folder of runs/, by name.

    Returns:
        Of each: name; model; state; stages, each with its name, epochs, best validation loss, AUC in that epoch, and
        images/s (the median of its epochs); seconds of all epochs; time of the last epoch (UTC; None before the first);
        AUROC of `any` on test, if it was evaluated. An evaluation of `evaluate.models` is no training: it has no
        stages, and its time is that of its report. What a file does not tell, or where it is damaged, is None.
    """
    folders = sorted(path for path in workspace.run.parent.glob("*") if path.is_dir())
    return [_run(folder, workspace) for folder in folders]


def _run(folder: Path, workspace: Workspace) -> dict[str, Any]:
    rows = _history(folder / "history.csv")
    metrics = _json(folder / "report" / "metrics.json")
    auroc = _at(metrics, "splits", "test", "levels", "slice", "figures", "any", "auroc", "value")
    if not rows and not (folder / "config.json").exists() and isinstance(models := _at(metrics, "models"), list):
        return {
            "name": folder.name, "model": _at(metrics, "model"),
            "state": _evaluated(len(models)), "stages": [],
            "seconds": None, "time": _at(metrics, "provenance", "time"), "test_auroc_any": auroc,
        }  # fmt: skip
    return {
        "name": folder.name,
        "model": _at(_json(folder / "config.json"), "train", "model"),
        "state": _state(folder, rows, workspace),
        "stages": [_stage(name, rows) for name in dict.fromkeys(row["stage"] for row in rows)],
        "seconds": sum(seconds for row in rows if (seconds := _number(row, "seconds")) is not None),
        "time": _time(folder / "history.csv") if rows else None,
        "test_auroc_any": auroc,
    }


def _evaluated(models: int) -> str:
    return f"evaluation of {models} model{'s' * (models != 1)}" if models else "evaluation of a file"


def _stage(name: str, rows: Iterable[Row]) -> dict[str, Any]:
    own = [row for row in rows if row["stage"] == name]
    losses = [(loss, row) for row in own if (loss := _number(row, "val_loss")) is not None]
    loss, best = min(losses, key=lambda each: each[0], default=(None, {}))
    speeds = [speed for row in own if (speed := _number(row, "images_per_s")) is not None]
    return {
        "stage": name, "epochs": len(own), "val_loss": loss, "val_auc": _number(best, "val_auc"),
        "images_per_s": median(speeds) if speeds else None,
    }  # fmt: skip


def _state(folder: Path, rows: list[Row], workspace: Workspace) -> str:
    """In words. A training removes its checkpoints and its note of finished stages when it ends."""
    stopped = _json(folder / NOT_FINITE)
    if isinstance(stopped, dict):
        place = ", ".join(str(stopped.get(key, "?")) for key in ("stage", "phase"))
        return f"stopped on a non-finite loss: {place}, epoch {stopped.get('epoch', '?')}"
    found = [_at(_json(path), "progress") for path in (folder / "checkpoints").glob("*.json")]
    newest = max(
        (each for each in found if isinstance(each, dict)), key=lambda each: each.get("epoch", 0), default=None
    )
    if newest is not None:
        last = (newest.get("history") or [{}])[-1]
        return f"in progress: {newest.get('stage')}, {last.get('phase', '?')}, epoch {newest.get('epoch')} done"
    finished = _at(_json(folder / "finished_stages.json"), "stages")
    if finished:
        return f"in progress: {', '.join(finished)} finished"
    if not rows:
        return "no epoch finished"
    return "finished" if _has_model(folder, workspace) else "finished; its model was replaced or moved"


def _has_model(folder: Path, workspace: Workspace) -> bool:
    models = _at(_json(folder / "config.json"), "model_folder")
    cards = (workspace.root / (models if isinstance(models, str) else "models")).glob("*_final.json")
    return any(_at(_json(card), "training", "run") == folder.name for card in cards)


def _history(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row.get("stage")]
    except (OSError, ValueError, csv.Error):
        return []


def _json(path: Path) -> Any:
    try:
        return json.loads(read_whole(path))
    except (OSError, ValueError, RecursionError):
        return None


def _at(content: Any, *keys: str) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _number(row: Row, key: str) -> float | None:
    try:
        return float(row[key])
    except (KeyError, TypeError, ValueError):
        return None


def _time(path: Path) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(path.stat().st_mtime))
