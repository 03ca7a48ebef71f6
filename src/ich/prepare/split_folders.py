"""The tables and folders of training, validation and test images, which training reads."""

import errno
import os
import shutil
from pathlib import Path
from typing import Literal

import polars as pl

from ich.config import Experiment, StepName
from ich.errors import DataError
from ich.files import read_parquet, write_csv
from ich.labels import AUGMENTED, IMAGE_ID, is_augmented, read_table
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.prepare.patients import READABLE, known_ledger
from ich.prepare.splits_file import read_assignment
from ich.workspace import SPLITS, Workspace


def fills_split_folders(step: Literal["split", "preprocess"], config: Experiment) -> bool:
    """Whether this step fills the folders: of split and preprocess, the later one in `steps` does.

    What the other one left of an earlier run says nothing. A step by itself fills them if the other's result is there.
    """
    other: StepName = "preprocess" if step == "split" else "split"
    if step in config.steps and other in config.steps:
        return config.steps.index(step) > config.steps.index(other)
    workspace = Workspace(config)
    return all(path.exists() for path in (workspace.splits, workspace.slices, workspace.sampled))


def fill_split_folders(workspace: Workspace, *, same_images: bool = False) -> list[Path]:
    """Write `data_<split>.csv` and fill `data_<split>/` with links to the images; both hold only readable slices.

    Called by `split` or `preprocess`, whichever comes later. A folder is built under another name and swapped in.

    Args:
        workspace: whose ledger, sample and split say what belongs where.
        same_images: the images are those of the last time, so that a table and folder which hold the right ones, and
            what augment made of them, stay as they are.

    Raises:
        DataError: a slice has another patient than when it was split, or a table is damaged.
    """
    ledger = read_parquet(workspace.slices, IDENTITY_SCHEMA)
    _refuse_other_patients(ledger, workspace)
    usable = ledger.filter(READABLE).select(IMAGE_ID)
    table = read_table(workspace.sampled).join(usable, on=IMAGE_ID, how="semi")
    table = table.join(read_assignment(workspace), on=IMAGE_ID, how="left").sort(IMAGE_ID)
    if lost := table["split"].null_count():
        raise DataError(f"{workspace.splits} lacks {lost} of the {len(table)} sampled slices; run split again")
    for name in SPLITS:
        rows = table.filter(pl.col("split") == name).drop("split")
        if same_images and _is_filled(workspace.table(name), workspace.images(name), rows, workspace.png):
            continue
        _fill(workspace.images(name), rows[IMAGE_ID].to_list(), workspace.png)
        write_csv(workspace.table(name), rows)
    return [path for name in SPLITS for path in (workspace.table(name), workspace.images(name))]


def _refuse_other_patients(ledger: pl.DataFrame, workspace: Workspace) -> None:
    """A file that was replaced since `index` read it may be of a patient in another split.

    Raises:
        DataError: there is one.
    """
    split_by = known_ledger(workspace)
    if split_by in (None, workspace.slices) or workspace.config.split.unit == "slice":
        return
    known = read_parquet(workspace.index, IDENTITY_SCHEMA).filter(READABLE)
    both = ledger.filter(READABLE).join(known, on=IMAGE_ID, suffix="_indexed")
    other = both.filter(pl.col("patient").ne_missing(pl.col("patient_indexed")))
    if not other.is_empty():
        raise DataError(
            f"{len(other):,} files are of another patient than when index read them, such as that of "
            f"{other.item(0, IMAGE_ID)}; run `ich index` and then `ich run`"
        )


def _is_filled(csv: Path, folder: Path, rows: pl.DataFrame, png: Path) -> bool:
    """Whether a table and its folder hold these slices and, besides, augmented images only."""
    try:
        natural = read_table(csv).filter(~pl.col(IMAGE_ID).str.contains(AUGMENTED.pattern))
        with os.scandir(folder) as entries:
            links = {
                entry.name: os.readlink(entry.path)  # noqa: PTH115 - a Path for each of 750,000 takes seconds
                for entry in entries
                if not is_augmented(entry.name[:-4])
            }
    except (DataError, OSError):  # not there, damaged, or files instead of links
        return False
    return natural.equals(rows) and links == {
        f"{image_id}.png": f"../{png.name}/{image_id}.png" for image_id in rows[IMAGE_ID]
    }


def _fill(folder: Path, image_ids: list[str], png: Path) -> None:
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for leftover in (new, old):
        _remove(leftover)
    new.mkdir(parents=True)
    source = Path("..") / png.name  # relative, so that the workspace can be moved
    for image_id in image_ids:
        _link_or_copy(source / f"{image_id}.png", new / f"{image_id}.png", png)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _remove(old)


def _remove(path: Path) -> None:
    """Remove a folder with what is in it; of a link, the link only."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link_or_copy(relative: Path, link: Path, png: Path) -> None:
    try:
        link.symlink_to(relative)
    except OSError as error:  # file systems without symbolic links (exFAT, some network mounts)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.copyfile(png / link.name, link)
