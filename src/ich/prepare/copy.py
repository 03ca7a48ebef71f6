"""Step 2, copy: bring the chosen DICOM files into the workspace, verified, with every missing one listed."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import polars as pl

from ich.config import Copy, Experiment
from ich.dicom.read import read_bytes
from ich.errors import DataError, UnreadableSlice
from ich.labels import IMAGE_ID, read_table
from ich.progress import progress_bar
from ich.sources import is_folder, locate_files, read_file
from ich.sources.file import SourceFile
from ich.workspace import Outcome, Workspace, fingerprint, name_file, write_csv

Result = Literal["copied", "there already", "read in place", "missing"]
_AT_ONCE = 10_000  # files that are handed to the threads together: all at once would take 2 kB of memory each


def copy(config: Experiment) -> Outcome:
    """Copy or link `<ImageID>.dcm` for every sampled slice; `copy.mode: none` only looks whether they are there.

    Missing files are listed in `missing_files.csv`. A file that is in place and passes verification is left alone.

    Raises:
        DataError: a source does not exist, or a copy differs from its original.
    """
    workspace = Workspace(config)
    image_ids = read_table(workspace.sampled)[IMAGE_ID].to_list()
    files = locate_files(image_ids, workspace.originals)
    refuse_places(workspace)
    if config.copy_.mode != "none":
        workspace.copies.mkdir(parents=True, exist_ok=True)
        _sweep(workspace.copies)

    def one(file: SourceFile) -> Result:
        return bring(file, workspace.copies / f"{file.image_id}.dcm", config.copy_)

    results: list[Result] = []
    with (
        progress_bar(f"copy ({config.copy_.mode})", total=len(files)) as advance,
        ThreadPoolExecutor(config.copy_.threads) as pool,
    ):
        for start in range(0, len(files), _AT_ONCE):
            for result in pool.map(one, files[start : start + _AT_ONCE]):
                results.append(result)
                advance(1)
    missing = [image_id for image_id, result in zip(image_ids, results, strict=True) if result == "missing"]
    _refuse_lost(workspace, set(image_ids) - set(missing))
    listing = workspace.root / "missing_files.csv"
    write_csv(listing, pl.DataFrame({IMAGE_ID: missing}, schema={IMAGE_ID: pl.String}))
    return Outcome(
        counts={
            "sampled": len(image_ids), "mode": config.copy_.mode,
            **{name: results.count(name) for name in _possible(config.copy_)},
        },
        outputs=[listing] if config.copy_.mode == "none" else [listing, workspace.copies],
        incomplete=bool(missing),
        notes=[f"{len(missing)} DICOM files are missing: {listing}"] if missing else [],
    )  # fmt: skip


def _possible(how: Copy) -> tuple[Result, ...]:
    return ("read in place", "missing") if how.mode == "none" else ("copied", "there already", "missing")


def bring(file: SourceFile, target: Path, how: Copy) -> Result:
    """Copy or link one file, and verify the copy; a copy keeps the time of its original, and so shows its age.

    A copy whose original is gone is kept, and used: `there already`.

    Raises:
        DataError: the copy is not what the source is.
    """
    has_copy = target.is_file() and not target.is_symlink()
    if file.size < 0:
        return "there already" if how.mode == "copy" and has_copy else "missing"
    if how.mode == "none":
        return "read in place"
    if how.mode == "link":
        return _link(Path(file.path).resolve(), target)
    try:
        if has_copy and _is_current(file, target, how.verify):
            return "there already"
        _make_copy(file, target, how.verify)
    except (UnreadableSlice, FileNotFoundError):  # it was listed, but is gone, out of reach, or damaged in its zip file
        return "there already" if has_copy else "missing"
    return "copied"


def _link(source: Path, target: Path) -> Result:
    if target.is_symlink() and target.readlink() == source:
        return "there already"
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(source)
    temporary.replace(target)
    return "copied"


def _make_copy(file: SourceFile, target: Path, verify: Literal["size", "sha256"]) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if file.in_folder:
            read_bytes(Path(file.path), 0)  # whether it can be read: else copyfile might mean the copy
            shutil.copyfile(file.path, temporary)
        else:
            temporary.write_bytes(read_file(file))
        os.utime(temporary, ns=(file.modified_ns, file.modified_ns))
        if not _same(file, temporary, verify):
            raise DataError(
                f"the copy of {file.path} differs from it in {verify}; is the disk failing or the file still written?"
            )
        temporary.replace(target)
    except OSError as error:
        name_file(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_current(file: SourceFile, copied: Path, verify: Literal["size", "sha256"]) -> bool:
    """Uncompressed slices all have one size, so an earlier copy must have its original's time too, or its hash."""
    same_time = file.modified_ns == copied.stat().st_mtime_ns
    return (same_time or verify == "sha256") and _same(file, copied, verify)


def _same(file: SourceFile, copied: Path, verify: Literal["size", "sha256"]) -> bool:
    if file.size != copied.stat().st_size:
        return False
    return verify == "size" or _sha256(file) == fingerprint(copied)


def _sha256(file: SourceFile) -> str:
    if file.in_folder:
        read_bytes(Path(file.path), 0)
        return fingerprint(Path(file.path))
    return hashlib.sha256(read_file(file)).hexdigest()


def refuse_places(workspace: Workspace) -> None:
    """Refuse copies that would write over their originals, and links to what has no path.

    Raises:
        DataError: one of these.
    """
    mode = workspace.config.copy_.mode
    for source in workspace.originals if mode != "none" else ():
        if workspace.copies.resolve() == Path(source).resolve():
            raise DataError(
                f"{workspace.copies} is the folder of the originals, which are never changed; choose another "
                "workspace, another names.dicom, or copy.mode: none"
            )
        if mode == "link" and not is_folder(source):
            raise DataError(f"copy.mode is link, but {source} is no folder; set copy.mode to copy or none")


def _refuse_lost(workspace: Workspace, expected: set[str]) -> None:
    """Sampled = copied + there already + missing, looked up on the disk and not in what was reported.

    Raises:
        DataError: a file that was brought is not there.
    """
    if workspace.config.copy_.mode == "none":
        return
    with os.scandir(workspace.copies) as entries:
        lost = expected - {entry.name.removesuffix(".dcm") for entry in entries}
    if lost:
        raise DataError(
            f"copy does not add up: {len(lost)} of {len(expected)} files are not in {workspace.copies}, such as "
            f"{min(lost)}.dcm; does something else remove them? Run it again"
        )


def _sweep(folder: Path) -> None:
    """Remove what a killed run was writing."""
    for leftover in folder.glob(".*.dcm.*"):
        leftover.unlink()
