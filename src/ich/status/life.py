"""The life of one slice: what each step knows of it, from its labels to its prediction."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from ich.config import Experiment
from ich.errors import DataError, one_line
from ich.files import fingerprint, read_json
from ich.labels import IMAGE_ID, LABELS, original_id
from ich.prepare.splits_file import read_assignment
from ich.sources import is_folder, locate_files
from ich.workspace import SPLITS, Workspace

_SHORTEST = 5  # characters that a near match shares with what was asked for: ID_ and two more
_NEAR = 3
_HEADER = (
    "status", "repairs", "reason", "path", "size", "patient", "study", "series", "position_mm", "slice_spacing_mm",
    "tilt_degrees", "row_spacing_mm", "column_spacing_mm", "rows", "columns",
)  # fmt: skip
_PREPROCESSED = ("status", "repairs", "reason", "hu_min", "hu_max", "padding", "hu_hash", "png_size", "png_sha256")


def life(config: Experiment, name: str) -> dict[str, Any]:
    """What every step knows of one slice.

    Args:
        config: whose workspace is looked into; nothing is written there.
        name: an ImageID, a file name or path that ends in one, or the name of an augmented image.

    Returns:
        image_id; augmented: the augmented image that was asked for, or None; and a part each for labels, index, split,
        sample, copy, preprocess, tables, augment, predict: its facts, or `unknown`: why there are none.

    Raises:
        DataError: no step knows the slice, or a table is damaged.
    """
    workspace = Workspace(config)
    asked = re.sub(r"\.(dcm|png)$", "", Path(name).name, flags=re.IGNORECASE)
    image_id = original_id(asked)
    parts: dict[str, Callable[[Workspace, str], dict[str, Any]]] = {
        "labels": _labels, "index": _index, "split": _split, "sample": _sample, "copy": _copy,
        "preprocess": _preprocess, "tables": _tables, "augment": _augment, "predict": _predict,
    }  # fmt: skip
    found = {part: _known(part, look, workspace, image_id) for part, look in parts.items()}
    if "unknown" in found["labels"] and "split" in found["split"]:
        where = f"in no split: it has no labels (its {workspace.config.split.unit} is in {found['split']['split']})"
        found["split"] = {"unknown": where}
    known = any("unknown" not in found[part] for part in ("labels", "index", "preprocess", "tables"))
    if not known and not _has_file(workspace, image_id):
        raise _not_found(asked, image_id, workspace)
    if asked != image_id and asked not in found["augment"].get("copies", []):
        raise DataError(f"{asked} is not in {workspace.table('train').name}: augment made no such copy of {image_id}")
    return {"image_id": image_id, "augmented": asked if asked != image_id else None, **found}


def _known(
    part: str, look: Callable[[Workspace, str], dict[str, Any]], workspace: Workspace, image_id: str
) -> dict[str, Any]:
    """What a part knows. Tables that others have edited can hold anything in place of what is read of them.

    Raises:
        DataError: they do.
    """
    try:
        return look(workspace, image_id)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{part}: a table or file of {workspace.root}, or the label CSV, is not as it was written "
            f"({type(error).__name__}: {one_line(error)}); run the step again that writes it"
        ) from error


def _has_file(workspace: Workspace, image_id: str) -> bool:
    try:
        (file,) = locate_files([image_id], workspace.originals)
    except DataError:  # its place is not there
        return False
    return file.size >= 0


def _look_up(path: Path, condition: pl.Expr, columns: str = "*") -> pl.DataFrame:
    """Rows of a table that fulfil a condition; of a CSV all columns are text. Raises DataError if it is damaged."""
    try:
        if path.suffix == ".parquet":
            rows = pl.scan_parquet(path, glob=False)
        else:
            rows = pl.scan_csv(path, infer_schema=False, glob=False)
            rows = rows.rename({column: column.strip() for column in rows.collect_schema().names()})
        return rows.filter(condition).select(columns).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error)}); run the step that writes it again") from error


def _row(path: Path, image_id: str) -> dict[str, Any]:
    """The row of a slice, or why there is none."""
    if not path.is_file():
        return {"unknown": f"{path.name} does not exist"}
    rows = _look_up(path, pl.col(IMAGE_ID) == image_id)
    return {"unknown": f"not in {path.name}"} if rows.is_empty() else rows.row(0, named=True)


def _labels(workspace: Workspace, image_id: str) -> dict[str, Any]:
    """From a wide table if one has them: the label CSV has 4.5 million rows, and is read whole only where none has."""
    for table in (workspace.sampled, *(workspace.table(split) for split in SPLITS)):
        if "unknown" not in (row := _row(table, image_id)):
            return {"source": table.name, "values": {label: int(row[label]) for label in LABELS}}
    if not workspace.label_csv.is_file():
        return {"unknown": f"{workspace.label_csv} does not exist"}
    rows = _look_up(workspace.label_csv, pl.col("ID").str.strip_chars().str.starts_with(f"{image_id}_"))
    texts = {row["ID"].strip(): row["Label"].strip() for row in rows.iter_rows(named=True)}
    values = {label: text for label in LABELS if (text := texts.get(f"{image_id}_{label}")) is not None}
    if not values:
        return {"unknown": f"not in {workspace.label_csv.name}"}
    return {"source": workspace.label_csv.name, "values": {label: int(float(text)) for label, text in values.items()}}


def _index(workspace: Workspace, image_id: str) -> dict[str, Any]:
    """What its header says; where index is not in steps, as preprocess read it."""
    ledger = workspace.index if "index" in workspace.config.steps else workspace.slices
    row = _row(ledger, image_id)
    return row if "unknown" in row else {"source": ledger.name} | _header(row, ledger)


def _header(row: dict[str, Any], ledger: Path) -> dict[str, Any]:
    """What a ledger knows from a header, and which place the slice has among those of its series."""
    facts = {name: row[name] for name in _HEADER}
    in_series = 0 if row["series"] is None else len(_look_up(ledger, pl.col("series") == row["series"], IMAGE_ID))
    place = None if row["slice_index"] is None else row["slice_index"] + 1
    return facts | {"place": place, "slices_in_series": in_series}


def _split(workspace: Workspace, image_id: str) -> dict[str, Any]:
    if not workspace.splits.is_file():
        return {"unknown": f"{workspace.splits.name} does not exist"}
    rows = read_assignment(workspace).filter(pl.col(IMAGE_ID) == image_id)
    if rows.is_empty():
        return {"unknown": f"in no split: {workspace.splits.name} does not cover it"}
    return {"split": rows["split"][0], "unit": workspace.config.split.unit}


def _sample(workspace: Workspace, image_id: str) -> dict[str, Any]:
    if not workspace.sampled.is_file():
        return {"unknown": f"{workspace.sampled.name} does not exist"}
    return {"sampled": "unknown" not in _row(workspace.sampled, image_id), "table": workspace.sampled.name}


def _copy(workspace: Workspace, image_id: str) -> dict[str, Any]:
    missing = workspace.root / "missing_files.csv"
    if not missing.is_file():
        return {"unknown": f"{missing.name} does not exist: copy has not run"}
    if not _sample(workspace, image_id).get("sampled"):
        return {"unknown": "not chosen, so not looked for"}
    row = _row(missing, image_id)
    return {
        "mode": workspace.config.copy_.mode,
        **_file(workspace, image_id),
        "listed_as_missing": "unknown" not in row,
        "reason": row.get("reason"),
    }


def _file(workspace: Workspace, image_id: str) -> dict[str, Any]:
    """Where the DICOM file is read after copy, and whether it is there; None where only a listing could tell."""
    if workspace.config.copy_.mode != "none":
        path = workspace.copies / f"{image_id}.dcm"
        return {"path": str(path), "there": path.is_file()}
    rows = [_row(ledger, image_id) for ledger in (workspace.slices, workspace.index)]
    known = next((row["path"] for row in rows if "unknown" not in row), None)
    if known is None or not all(map(is_folder, workspace.originals)):
        return {"path": known, "there": None}
    return {"path": known, "there": Path(known).is_file()}


def _preprocess(workspace: Workspace, image_id: str) -> dict[str, Any]:
    row = _row(workspace.slices, image_id)
    if "unknown" in row:
        return row
    facts = {name: row[name] for name in _PREPROCESSED}
    png = workspace.png / f"{image_id}.png"
    if row["png_sha256"] is None:
        return facts | {"png": None, "png_is": None}
    if not png.is_file():
        return facts | {"png": str(png), "png_is": "gone"}
    return facts | {"png": str(png), "png_is": "as written" if fingerprint(png) == row["png_sha256"] else "changed"}


def _tables(workspace: Workspace, image_id: str) -> dict[str, Any]:
    tables = [workspace.table(split) for split in SPLITS]
    if not any(table.is_file() for table in tables):
        return {"unknown": "the split folders are not filled yet"}
    holding = [table.name for table in tables if "unknown" not in _row(table, image_id)]
    return {"tables": holding} if holding else {"unknown": f"in none of {', '.join(table.name for table in tables)}"}


def _augment(workspace: Workspace, image_id: str) -> dict[str, Any]:
    table = workspace.table("train")
    if not table.is_file():
        return {"unknown": f"{table.name} does not exist"}
    rows = _look_up(table, pl.col(IMAGE_ID).str.starts_with(f"{image_id}_aug_"))
    return {"copies": rows[IMAGE_ID].to_list()}


def _predict(workspace: Workspace, image_id: str) -> dict[str, Any]:
    row = _row(workspace.predictions, image_id)
    if "unknown" in row:
        return row
    metrics = workspace.report / "metrics.json"
    thresholds = read_json(metrics)["thresholds"]["slice"] if metrics.is_file() else {}
    probabilities = {label: row[f"calibrated_{label}"] for label in LABELS}
    decisions = {
        label: label in thresholds and probability >= thresholds[label]["value"]
        for label, probability in probabilities.items()
    }
    return {
        "split": row["split"],
        "gated_in": row["gated_in"],
        "probabilities": probabilities,
        "decisions": decisions if thresholds else None,
    }


def _not_found(asked: str, image_id: str, workspace: Workspace) -> DataError:
    tables = [path for path in (workspace.index, workspace.slices, workspace.sampled) if path.exists()]
    labels = [workspace.label_csv] if workspace.label_csv.exists() else []
    where = ", ".join(map(str, (*labels, *workspace.originals, *tables)))
    near = _near(image_id, tables)
    hint = f"; near it: {', '.join(near)}" if near else ""
    other = f" ({asked!r} was asked for)" if asked != image_id else ""
    return DataError(f"no slice {image_id!r}{other}: it is in none of {where}{hint}; check the name and the config")


def _near(image_id: str, tables: list[Path]) -> list[str]:
    """The first few known ids that share the longest beginning with one that is not known."""
    if not tables:
        return []
    ids = _look_up(tables[0], pl.lit(True), IMAGE_ID).get_column(IMAGE_ID)
    for length in range(len(image_id) - 1, _SHORTEST - 1, -1):
        close = ids.filter(ids.str.starts_with(image_id[:length]))
        if len(close):
            return close.head(_NEAR).to_list()
    return []
