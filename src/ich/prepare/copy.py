"""Step 2, copy: bring the chosen DICOM files into the workspace, verified, with every missing one listed."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import polars as pl

from ich.config import Copy, Experiment
from ich.errors import DataError
from ich.labels import IMAGE_ID, read_table
from ich.progress import progress_bar
from ich.workspace import Outcome, Workspace, fingerprint, write_csv

Result = Literal["copied", "there already", "missing"]


def copy(config: Experiment) -> Outcome:
    """Copy or link `<ImageID>.dcm` for every sampled slice; `copy.mode: none` only looks whether they are there.

    Missing files are listed in `missing_files.csv`. A file that is in place and passes verification is left alone.

    Raises:
        DataError: the source folder does not exist, or a copy differs from its original.
    """
    workspace = Workspace(config)
    image_ids = read_table(workspace.sampled)[IMAGE_ID].to_list()
    if not workspace.dicom_source.is_dir():
        raise DataError(
            f"DICOM folder {workspace.dicom_source} does not exist; set data.dicom to the folder of the .dcm files"
        )
    target = workspace.root / config.names.dicom
    if config.copy_.mode != "none":
        target.mkdir(parents=True, exist_ok=True)
        if target.resolve() == workspace.dicom_source.resolve():
            raise DataError(
                f"{target} is the folder of the originals, which are never changed; choose another workspace, another "
                "names.dicom, or copy.mode: none"
            )

    def one(image_id: str) -> Result:
        return bring(workspace.dicom_source / f"{image_id}.dcm", target / f"{image_id}.dcm", config.copy_)

    results: list[Result] = []
    with (
        progress_bar(f"copy ({config.copy_.mode})", total=len(image_ids)) as advance,
        ThreadPoolExecutor(config.copy_.threads) as pool,
    ):
        for result in pool.map(one, image_ids):
            results.append(result)
            advance(1)
    missing = [image_id for image_id, result in zip(image_ids, results, strict=True) if result == "missing"]
    listing = workspace.root / "missing_files.csv"
    write_csv(listing, pl.DataFrame({IMAGE_ID: missing}, schema={IMAGE_ID: pl.String}))
    return Outcome(
        counts={
            "sampled": len(image_ids), "mode": config.copy_.mode,
            **{name: results.count(name) for name in ("copied", "there already", "missing")},
        },
        outputs=[listing] if config.copy_.mode == "none" else [listing, target],
        incomplete=bool(missing),
        notes=[f"{len(missing)} DICOM files are missing: {listing}"] if missing else [],
    )  # fmt: skip


def bring(source: Path, target: Path, how: Copy) -> Result:
    """Copy or link one file, and verify the copy; a copy keeps the time of its original, and so shows its age.

    A copy whose original is gone is kept, and used: `there already`.

    Raises:
        DataError: the copy is not what the source is.
    """
    if not source.is_file():
        copied_before = how.mode == "copy" and target.is_file() and not target.is_symlink()
        return "there already" if copied_before else "missing"
    if how.mode == "none":
        return "there already"
    if how.mode == "link":
        return _link(source.resolve(), target)
    if target.is_file() and not target.is_symlink() and _is_current(source, target, how.verify):
        return "there already"
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)
        if not _same(source, temporary, how.verify):
            raise DataError(
                f"the copy of {source} differs from it in {how.verify}; is the disk failing or the file still written?"
            )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return "copied"


def _link(source: Path, target: Path) -> Result:
    if target.is_symlink() and target.readlink() == source:
        return "there already"
    target.unlink(missing_ok=True)
    target.symlink_to(source)
    return "copied"


def _is_current(source: Path, copied: Path, verify: Literal["size", "sha256"]) -> bool:
    """Uncompressed slices all have one size, so an earlier copy must have its original's time too, or its hash."""
    same_time = source.stat().st_mtime_ns == copied.stat().st_mtime_ns
    return (same_time or verify == "sha256") and _same(source, copied, verify)


def _same(source: Path, copied: Path, verify: Literal["size", "sha256"]) -> bool:
    if source.stat().st_size != copied.stat().st_size:
        return False
    return verify == "size" or fingerprint(source) == fingerprint(copied)
