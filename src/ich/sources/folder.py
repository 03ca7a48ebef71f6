"""A folder of DICOM files, with the folders in it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from ich.errors import DataError, printable
from ich.sources.file import SourceFile, image_id, listing, refuse_names


def list_files(source: str) -> pl.DataFrame:
    """Every `<ImageID>.dcm` in a folder and the folders in it.

    Raises:
        DataError: there is no such folder, or a name is not UTF-8.
    """
    refuse_missing(source)
    odd: list[str] = []
    files = listing(_files(source, odd))
    refuse_names(odd)
    return files


def _files(source: str, odd: list[str]) -> Iterator[SourceFile]:
    """The files; names that are not UTF-8 are added to `odd`, as printable text."""
    for entry in _walk(source):
        name = image_id(entry.name)
        if name is None:
            continue
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            odd.append(printable(Path(entry.path)))
        else:
            yield _file(name, entry)


def refuse_missing(source: str) -> None:
    """Look whether the folder is there.

    Raises:
        DataError: it is not.
    """
    if Path(source).is_file():
        raise DataError(f"DICOM folder {source} is a file; set data.dicom to the folder, or zip file, that it is in")
    if not Path(source).is_dir():
        what = "zip file" if source.lower().endswith(".zip") else "folder"
        raise DataError(f"DICOM {what} {source} does not exist; set data.dicom to where the .dcm files are")


def _walk(source: str) -> Iterator[os.DirEntry[str]]:
    """Everything in a folder that is no folder. Links are followed, once: one may lead back."""
    seen: set[tuple[int, int]] = set()
    folders = [source]  # a list, not recursion: folders may be nested deeper than Python's stack
    while folders:
        folder = folders.pop()
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        below = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    yield entry
                elif not entry.name.startswith("."):
                    below.append(entry.path)
        folders += sorted(below, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that lead in a circle, or where we may not look
        return False


def _file(name: str, entry: os.DirEntry[str]) -> SourceFile:
    """A broken link, or a pipe that would be waited on for ever, is as good as no file, but is named."""
    try:
        status = entry.stat()
    except OSError:
        return SourceFile(name, entry.path, -1, 0)
    if not stat.S_ISREG(status.st_mode):
        return SourceFile(name, entry.path, -1, 0)
    return SourceFile(name, entry.path, status.st_size, status.st_mtime_ns)
