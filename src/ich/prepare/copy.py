"""Step 2, copy: bring the chosen DICOM files into the workspace, verified, with every missing one listed."""

import hashlib
import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import polars as pl

from ich.config import Copy, Experiment
from ich.dicom.read import read_bytes
from ich.errors import DataError, UnreadableSlice
from ich.files import fingerprint, name_file, staging, sweep_staging, write_csv
from ich.labels import IMAGE_ID, read_table
from ich.prepare.ledger import left_out, refuse_lost
from ich.progress import progress_bar
from ich.sources import NO_FILE, Files, is_folder, locate_files, read_file
from ich.sources.file import SourceFile
from ich.workspace import Outcome, Workspace

Result = Literal["copied", "linked", "there already", "kept without original", "read in place", "missing"]
_MISSING = {IMAGE_ID: pl.String, "reason": pl.String}
_AT_ONCE = 10_000  # files that are handed to the threads together: all at once would take 2 kB of memory each


def copy(config: Experiment) -> Outcome:
    """Copy or link `<ImageID>.dcm` for every sampled slice; `copy.mode: none` only looks whether they are there.

    Missing files are listed in `missing_files.csv`, with the reason. A file that is in place and passes verification is
    left alone.

    Raises:
        DataError: a source does not exist, or a copy differs from its original.
    """
    workspace, how = Workspace(config), config.copy_
    image_ids = read_table(workspace.sampled)[IMAGE_ID]
    files = locate_files(image_ids, workspace.originals)
    refuse_places(workspace)
    reasons: dict[str, str] = {}
    if how.mode == "none":
        results = [_look(file) for file in files]
    else:
        workspace.copies.mkdir(parents=True, exist_ok=True)
        sweep_staging(workspace.copies)
        results = _bring_all(files, workspace.copies, how, reasons)
    ids = image_ids.filter(pl.Series([result == "missing" for result in results], dtype=pl.Boolean))
    missing = pl.DataFrame(
        {IMAGE_ID: ids, "reason": [reasons.get(image_id, NO_FILE) for image_id in ids]}, schema_overrides=_MISSING
    )
    listing = workspace.root / "missing_files.csv"
    write_csv(listing, missing)
    outputs = [listing]
    if how.mode != "none":
        brought = image_ids.filter(~image_ids.is_in(ids.implode()))
        refuse_lost("copy", workspace.copies, pl.select(pl.format("{}.dcm", brought)).to_series())
        outputs.append(workspace.copies)
    return Outcome(
        counts={
            "sampled": len(image_ids), "mode": how.mode, **{name: results.count(name) for name in _possible(how)},
        },
        outputs=outputs,
        incomplete=not missing.is_empty(),
        notes=[*_kept(results), *left_out(missing.with_columns(status=pl.lit("missing")), listing.name)],
    )  # fmt: skip


def _possible(how: Copy) -> tuple[Result, ...]:
    if how.mode == "none":
        return ("read in place", "missing")
    return ("linked", "there already", "missing") if how.mode == "link" else (
        "copied", "there already", "kept without original", "missing"
    )  # fmt: skip


def _kept(results: list[Result]) -> list[str]:
    kept = results.count("kept without original")
    return [f"{kept:,} copies of earlier runs are used, whose originals are gone or cannot be read"] if kept else []


def _look(file: SourceFile) -> Result:
    return "missing" if file.size < 0 else "read in place"


def _bring_all(files: Files, copies: Path, how: Copy, reasons: dict[str, str]) -> list[Result]:
    """What became of each file, in order. ImageID -> why is added to `reasons` for those that could not be read."""
    results: list[Result] = []
    with progress_bar(f"copy ({how.mode})", total=len(files)) as advance, staging(copies) as made:
        own, threads = threading.local(), how.threads or os.cpu_count() or 1
        folders = [Path(tempfile.mkdtemp(dir=made)) for _ in range(threads)]

        def begin() -> None:
            own.folder = folders.pop()

        def one(file: SourceFile) -> Result:
            try:
                return bring(file, copies / f"{file.image_id}.dcm", how, own.folder)
            except UnreadableSlice as error:
                reasons[file.image_id] = str(error)
                return "missing"

        with ThreadPoolExecutor(threads, initializer=begin) as pool:
            for start in range(0, len(files), _AT_ONCE):
                for result in pool.map(one, files[start : start + _AT_ONCE]):
                    results.append(result)
                    advance(1)
    return results


def bring(file: SourceFile, target: Path, how: Copy, folder: Path) -> Result:
    """Copy or link one file, and verify the copy; a copy keeps the time of its original, and so shows its age.

    A copy whose original is gone is kept, and used: `kept without original`. A link is removed.

    Args:
        file: what is copied.
        target: path of the copy.
        how: copy or link, and how a copy is verified.
        folder: on the same disk, and nobody else's: the copy is made in it and then moved.

    Raises:
        UnreadableSlice: it was listed, but is gone, out of reach, or damaged in its zip file, and there is no copy.
        DataError: the copy is not what the source is.
    """
    has_copy = target.is_file() and not target.is_symlink()
    if file.size < 0:
        if target.is_symlink():  # to where the file was, or lies in a source that is no longer asked for
            target.unlink()
        return "kept without original" if how.mode == "copy" and has_copy else "missing"
    if how.mode == "link":
        return _link(Path(file.path).resolve(), target, folder)
    try:
        if has_copy and _is_current(file, target, how.verify):
            return "there already"
        _make_copy(file, target, how.verify, folder / target.name)
    except UnreadableSlice:
        if not has_copy:
            raise
        return "kept without original"
    return "copied"


def _link(source: Path, target: Path, folder: Path) -> Result:
    if target.is_symlink() and target.readlink() == source:
        return "there already"
    temporary = folder / target.name
    temporary.symlink_to(source)
    temporary.replace(target)
    return "linked"


def _make_copy(file: SourceFile, target: Path, verify: Literal["size", "sha256"], temporary: Path) -> None:
    try:
        if file.in_folder:
            read_bytes(Path(file.path), 0)  # whether it can be read: what copyfile cannot do is not the file's fault
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
    """Uncompressed slices all have one size, so an earlier copy must have its original's time too, or its hash.

    A store that tells no time is asked for the file again.
    """
    same_time = file.modified_ns == copied.stat().st_mtime_ns and file.modified_ns > 0
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
    """Refuse copies that would lie among their originals, or be written over them, and links to what has no path.

    Raises:
        DataError: one of these.
    """
    mode = workspace.config.copy_.mode
    for source in workspace.originals if mode != "none" else ():
        if workspace.copies.resolve().is_relative_to(Path(source).resolve()):
            raise DataError(
                f"{workspace.copies} is, or is in, {source}, the folder of the originals, which are never changed; "
                "choose another workspace, or copy.mode: none"
            )
        if mode == "link" and not is_folder(source):
            raise DataError(f"copy.mode is link, but {source} is no folder; set copy.mode to copy or none")
