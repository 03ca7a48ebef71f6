"""Index: read the header of every DICOM file, so that patients can be split before anything is sampled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ich.chunks import SourceFile, holds, run_in_chunks, source_files
from ich.config import Experiment
from ich.dicom.read import read_header
from ich.errors import DataError, UnreadableSlice, printable
from ich.labels import IMAGE_ID, read_long_labels
from ich.prepare.ledger import INDEX_SCHEMA, add_series_order, header_row, left_out, status_counts
from ich.workspace import Outcome, Workspace, write_csv, write_parquet


def index(config: Experiment) -> Outcome:
    """Write `index.parquet`: a row for every DICOM file in the source folder and for every labelled slice.

    Files without labels and labels without files are listed in `files_without_labels.csv` and
    `labels_without_files.csv`.

    Raises:
        DataError: the folder or the label file is missing or wrong.
    """
    workspace = Workspace(config)
    labels, _ = read_long_labels(workspace.label_csv)
    on_disk = set(list_dicom(workspace.dicom_source))
    labelled = set(labels[IMAGE_ID])
    image_ids = sorted(on_disk | labelled)
    table = run_in_chunks(
        "index", source_files(image_ids, workspace.dicom_source), index_chunk,
        folder=workspace.parts / "index", settings="", workers=config.preprocess.workers,
        intact=lambda chunk, part: holds(chunk, part, INDEX_SCHEMA),
    )  # fmt: skip
    write_parquet(workspace.index, add_series_order(table))

    outputs = [workspace.index]
    for name, ids in (
        ("files_without_labels", on_disk - labelled),
        ("labels_without_files", labelled - on_disk),
    ):
        write_csv(workspace.root / f"{name}.csv", pl.DataFrame({IMAGE_ID: sorted(ids)}, schema={IMAGE_ID: pl.String}))
        outputs.append(workspace.root / f"{name}.csv")
    return _outcome(table, len(on_disk - labelled), outputs)


def list_dicom(folder: Path) -> list[str]:
    """Ids of the files `<ImageID>.dcm` in a folder.

    Raises:
        DataError: there is no such folder, no such file in it, or one whose path is not UTF-8, as tables are.
    """
    if not folder.is_dir():
        raise DataError(f"DICOM folder {folder} does not exist; set data.dicom to the folder of the .dcm files")
    paths = [path for path in folder.iterdir() if path.suffix == ".dcm"]
    if not paths:
        raise DataError(f"DICOM folder {folder} holds no .dcm files; set data.dicom to the folder that does")
    odd = sorted(shown for path in paths if (shown := printable(path)) != str(path))
    if odd:
        raise DataError(
            f"DICOM file {odd[0]}: names must be UTF-8, for the tables to hold them; rename it ({len(odd)} such files)"
        )
    return [path.stem for path in paths]


def index_chunk(files: Sequence[SourceFile]) -> pl.DataFrame:
    """Rows of INDEX_SCHEMA for some files; an unreadable file keeps its row."""
    return pl.DataFrame([_row(file) for file in files], schema=INDEX_SCHEMA)


def _row(file: SourceFile) -> dict[str, Any]:
    row: dict[str, Any] = {IMAGE_ID: file.image_id, "path": file.path, "size": file.size, "status": "ok"}
    if file.size < 0:
        return row | {"status": "missing", "reason": "no such file", "size": None}
    try:
        return row | header_row(read_header(Path(file.path)))
    except UnreadableSlice as error:
        return row | {"status": "quarantined", "reason": str(error)}


def _outcome(table: pl.DataFrame, unlabelled: int, outputs: list[Path]) -> Outcome:
    counts = status_counts(table)
    return Outcome(
        counts={
            "slices": len(table), **counts,
            "patients": table["patient"].drop_nulls().n_unique(), "series": table["series"].drop_nulls().n_unique(),
            "files without labels": unlabelled,
        },
        outputs=outputs,
        incomplete=counts["missing"] + counts["quarantined"] > 0,
        notes=left_out(table, "index.parquet, labels_without_files.csv"),
    )  # fmt: skip
