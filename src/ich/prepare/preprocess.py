"""Step 3, preprocess: DICOM to RGB PNG through three windows, and a ledger row for every slice."""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ich.chunks import holds, run_in_chunks
from ich.config import Experiment, Preprocess
from ich.dicom.isolated import SECONDS
from ich.dicom.read import parse_header, parse_slice
from ich.errors import UnreadableSlice
from ich.files import fingerprint, list_names, name_file, staging, sweep_staging
from ich.labels import IMAGE_ID, read_table
from ich.png import encode_png
from ich.prepare.ledger import (
    SLICES_SCHEMA,
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
from ich.prepare.patients import READABLE
from ich.prepare.split_folders import fill_split_folders, fills_split_folders
from ich.sources import Content, locate_files, read_files
from ich.sources.file import SourceFile
from ich.windows import rgb_from_hu
from ich.workspace import Outcome, Workspace


def preprocess(config: Experiment) -> Outcome:
    """Write `raw_png/<ImageID>.png` (RGB uint8) for every sampled slice that can be read, and `slices.parquet`.

    Finished chunks are kept: a run that was cut off continues. A chunk of which an image is gone or has another size
    is done again. Where the split is known already, its folders are filled at the end.

    Raises:
        DataError: nothing was sampled, or the DICOM files' place does not exist.
    """
    workspace = Workspace(config)
    rows, asked = _make_images(config, workspace)
    before = fingerprint(workspace.slices) if workspace.slices.is_file() else None
    write_ledger(workspace.slices, rows)
    found = rows.select(IMAGE_ID, "status", "reason", "repairs").collect()
    _remove_stale(workspace.png, found)
    outcome = _outcome(found, asked, [workspace.slices, workspace.png])
    if fills_split_folders("preprocess", config):
        outcome.rewritten = fill_split_folders(workspace, same_images=before == fingerprint(workspace.slices))
    return outcome


def _make_images(config: Experiment, workspace: Workspace) -> tuple[pl.LazyFrame, int]:
    """Rows of all sampled slices, not read yet, and how many slices were asked for."""
    files = locate_files(read_table(workspace.sampled)[IMAGE_ID], workspace.dicom)
    workspace.png.mkdir(parents=True, exist_ok=True)
    sweep_staging(workspace.png)
    rows = run_in_chunks(
        "preprocess", files, functools.partial(preprocess_chunk, png=workspace.png, how=config.preprocess),
        folder=workspace.parts / "preprocess",
        settings=f"{config.preprocess.model_dump_json(exclude={'workers'})} {workspace.png}, {SECONDS} s a file",
        workers=config.preprocess.workers, executor=config.executor,
        intact=lambda chunk, part: holds(chunk, part, SLICES_SCHEMA) and _images_are_whole(part, workspace.png),
    )  # fmt: skip
    return rows, len(files)


def preprocess_chunk(files: Sequence[SourceFile], png: Path, how: Preprocess) -> pl.DataFrame:
    """Write the PNG files of some slices and return their rows of SLICES_SCHEMA."""
    with staging(png) as made:
        rows = [file_row(file) | _preprocess_one(file, content, made, how) for file, content in read_files(files)]
        _move_all(made, png)
    return pl.DataFrame(rows, schema=SLICES_SCHEMA)


def _preprocess_one(file: SourceFile, content: Content, folder: str, how: Preprocess) -> Row:
    try:
        if isinstance(content, UnreadableSlice):
            raise content
        ct = parse_slice(content)
    except UnreadableSlice as error:
        return _header_alone(content) | reason_row(error)
    image = encode_png(rgb_from_hu(ct.hu, how.windows, how.size, how.aspect))
    _write(f"{folder}/{file.image_id}.png", image)
    return {
        **header_row(ct.header), **pixel_row(ct),
        "png_size": len(image), "png_sha256": hashlib.sha256(image).hexdigest(),
    }  # fmt: skip


def _header_alone(content: Content) -> Row:
    """Whose a slice is that has no image, if its header can be read: others of its study may have no PatientID."""
    if isinstance(content, UnreadableSlice):
        return {}
    try:
        return header_row(parse_header(content))
    except UnreadableSlice:
        return {}


def _write(path: str, content: bytes) -> None:
    try:
        with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - a third of the time
            rest = memoryview(content)
            while rest:  # at the end of a disk or quota the first write is short; the next one tells why
                rest = rest[file.write(rest) :]
    except OSError as error:
        name_file(error, Path(path))
        raise


def _move_all(made: str, png: Path) -> None:
    for name in os.listdir(made):  # noqa: PTH208
        try:
            os.replace(f"{made}/{name}", f"{png}/{name}")  # noqa: PTH105 - a Path takes as long as the move
        except OSError as error:
            name_file(error, png / name)
            raise


def _images_are_whole(part: pl.DataFrame, folder: Path) -> bool:
    """Whether the images of a chunk are there, as long as they were written; damage within them is not looked for."""
    images = part.filter(READABLE).select(IMAGE_ID, "png_size")
    return all(_size(folder / f"{image_id}.png") == size for image_id, size in images.iter_rows())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _remove_stale(folder: Path, table: pl.DataFrame) -> None:
    """Images of an earlier run that this one did not ask for, or that can no longer be read, must not be believed."""
    there = list_names(folder)
    images = there.filter(there.str.contains(".png", literal=True)).to_frame()
    wanted = table.filter(READABLE).select(name=pl.format("{}.png", IMAGE_ID))
    for name in images.join(wanted, on="name", how="anti")["name"]:
        (folder / name).unlink()


def _outcome(table: pl.DataFrame, asked: int, outputs: list[Path]) -> Outcome:
    counts = account(table, asked)
    repairs = {f"repair: {name}": slices for name, slices in repair_counts(table).items()}
    return Outcome(
        counts={"slices": len(table), **counts, **repairs},
        outputs=outputs,
        incomplete=counts["quarantined"] + counts["missing"] > 0,
        notes=left_out(table, "slices.parquet"),
    )
