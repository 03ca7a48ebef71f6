"""Find the DICOM files in what a user names: files, folders, linked folders."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ich.errors import DataError, printable


def find_files(inputs: Iterable[Path]) -> list[Path]:
    """Files as given; folders searched, linked ones too, in sorted order. A path that is named twice counts once.

    Raises:
        DataError: an input does not exist, or there is no file in any of them.
    """
    found: dict[Path, None] = {}
    for path in inputs:
        if not path.exists():
            raise DataError(f"{printable(path)} does not exist; give DICOM files or folders of them")
        found |= dict.fromkeys(_search(path) if path.is_dir() else [path])
    if not found:
        raise DataError("no DICOM files in the given folders")
    return list(found)


def _search(folder: Path) -> list[Path]:
    files, seen, folders = [], set(), [folder]
    while folders:  # a list, not recursion: folders may be nested deeper than Python's stack
        here = folders.pop()
        with contextlib.suppress(OSError):  # a folder that may not be read
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:  # a link to a folder above it
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as listed:
                entries = sorted(listed, key=lambda entry: entry.name, reverse=True)
            folders += [here / entry.name for entry in entries if _is_folder(entry)]
            files += [here / entry.name for entry in entries if not _is_folder(entry)]
    return sorted(file for file in files if _looks_like_dicom(file))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that lead in a circle, or where we may not look
        return False


def _looks_like_dicom(file: Path) -> bool:
    """Whether a file met in a folder is meant: by its ending, or, since scanners write others or none, its first bytes.

    A .dcm that is a broken link or no regular file is meant too: it shows up as unreadable.
    """
    if file.name.startswith("."):
        return False
    if file.suffix.lower() == ".dcm":
        return True
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
