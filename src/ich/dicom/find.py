"""Find the DICOM files in what a user names: files, folders, linked folders."""

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
    files, seen = [], set()
    for root, folders, names in os.walk(folder, followlinks=True):
        here = Path(root)
        if here.resolve() in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(here.resolve())
        files += [here / name for name in names if _looks_like_dicom(here / name)]
    return sorted(files)


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
