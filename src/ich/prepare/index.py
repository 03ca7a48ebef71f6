"""Index: read the header of every DICOM file, so that patients can be split before anything is sampled."""

import functools
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ich.chunks import holds, run_in_chunks
from ich.config import Experiment
from ich.dicom.isolated import SECONDS
from ich.dicom.read import HEADER_BYTES, parse_header, parse_slice
from ich.errors import UnreadableSlice
from ich.files import write_csv
from ich.labels import IMAGE_ID, read_long_labels
from ich.prepare.ledger import (
    INDEX_SCHEMA,
    Row,
    account,
    file_row,
    header_row,
    left_out,
    pixel_row,
    reason_row,
    repair_counts,
    write_ledger,
)
from ich.sources import Content, Files, expected, list_files, read_file, read_files
from ich.sources.file import LISTING, SourceFile
from ich.workspace import Outcome, Workspace


def index(config: Experiment) -> Outcome:
    """Write `index.parquet`: a row for every DICOM file of the sources and for every labelled slice.

    Files without labels and labels without files are listed in `files_without_labels.csv` and
    `labels_without_files.csv`.

    Raises:
        DataError: a source or the label file is missing or wrong.
    """
    workspace = Workspace(config)
    labelled = read_long_labels(workspace.label_csv)[0].select(IMAGE_ID)
    on_disk = list_files(workspace.originals).table
    everything = on_disk.join(labelled, on=IMAGE_ID, how="full", coalesce=True).sort(IMAGE_ID)
    files = Files(everything.with_columns(**expected(workspace.originals)).select(*LISTING))
    rows = run_in_chunks(
        "index", files, functools.partial(index_chunk, pixels=config.index.hash),
        folder=workspace.parts / "index", settings=f"pixels {config.index.hash}, {SECONDS} s a file",
        workers=config.preprocess.workers, executor=config.executor,
        intact=lambda chunk, part: holds(chunk, part, INDEX_SCHEMA),
    )  # fmt: skip
    write_ledger(workspace.index, rows)
    outputs = [workspace.index]
    one_sided = {
        "files_without_labels": on_disk.join(labelled, on=IMAGE_ID, how="anti"),
        "labels_without_files": labelled.join(on_disk, on=IMAGE_ID, how="anti"),
    }
    for name, slices in one_sided.items():
        write_csv(workspace.root / f"{name}.csv", slices.select(IMAGE_ID).sort(IMAGE_ID))
        outputs.append(workspace.root / f"{name}.csv")
    found = rows.select(IMAGE_ID, "status", "reason", "repairs", "patient", "series", "hu_hash").collect()
    outcome = _outcome(found, len(files), len(one_sided["files_without_labels"]), outputs)
    if config.index.hash:
        outcome.counts["with a hash of the pixels"] = found["hu_hash"].count()
    return outcome


def index_chunk(files: Sequence[SourceFile], pixels: bool = False) -> pl.DataFrame:
    """Rows of INDEX_SCHEMA for some files; an unreadable file keeps its row.

    Args:
        files: n files.
        pixels: read them too, for the hash of the HU and their repairs. A file whose pixels cannot be read is ok,
            since what counts here is its header, but the reason is kept.
    """
    one = _with_pixels if pixels else _header_only
    contents = read_files(files, None if pixels else HEADER_BYTES)
    return pl.DataFrame([file_row(file) | one(file, content) for file, content in contents], schema=INDEX_SCHEMA)


def _header_only(file: SourceFile, start: Content) -> Row:
    try:
        if isinstance(start, UnreadableSlice):
            raise start
        return header_row(parse_header(start, lambda: read_file(file)))
    except UnreadableSlice as error:
        return reason_row(error)


def _with_pixels(file: SourceFile, content: Content) -> Row:
    row = _header_only(file, content)
    if isinstance(content, UnreadableSlice) or "status" in row:
        return row
    try:
        return row | pixel_row(parse_slice(content))
    except UnreadableSlice as error:
        return row | {"reason": f"header only: {error}"}


def _outcome(table: pl.DataFrame, asked: int, unlabelled: int, outputs: list[Path]) -> Outcome:
    counts = account(table, asked)
    return Outcome(
        counts={
            "slices": len(table), **counts, **{f"repair: {name}": n for name, n in repair_counts(table).items()},
            "patients": table["patient"].drop_nulls().n_unique(), "series": table["series"].drop_nulls().n_unique(),
            "files without labels": unlabelled,
        },
        outputs=outputs,
        incomplete=counts["missing"] + counts["quarantined"] > 0,
        notes=left_out(table, "index.parquet, labels_without_files.csv"),
    )  # fmt: skip
