"""One DICOM file of a source, as a listing has it."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

import polars as pl

from ich.errors import DataError
from ich.labels import IMAGE_ID


class SourceFile(NamedTuple):
    """Where a slice's file is, and what tells whether it changed.

    Attributes:
        image_id: its name without .dcm.
        path: of the file, of the member of a zip file (`x.zip/a/b.dcm`), or its URL.
        size: bytes; -1: there is no such file.
        modified_ns: when it, or the zip file that holds it, was last changed, ns since 1970; 0: not known.
        checksum: what its place keeps of its content: a zip file's CRC, an object store's ETag; or nothing.
        archive: the zip file that holds it; or nothing.
        offset: where its entry begins in the zip file, bytes.
        packed: bytes that it takes there.
    """

    image_id: str
    path: str
    size: int
    modified_ns: int
    checksum: str = ""
    archive: str = ""
    offset: int = -1
    packed: int = -1

    @property
    def in_folder(self) -> bool:
        """Whether `path` is that of a file of its own."""
        return not self.archive and "://" not in self.path


LISTING: dict[str, Any] = {
    IMAGE_ID: pl.String, "path": pl.String, "size": pl.Int64, "modified_ns": pl.Int64, "checksum": pl.String,
    "archive": pl.String, "offset": pl.Int64, "packed": pl.Int64,
}  # fmt: skip


def listing(files: Iterable[SourceFile]) -> pl.DataFrame:
    """Files as a table of the columns LISTING, which takes a quarter of their memory: made some at a time."""
    rest = iter(files)
    parts = [pl.DataFrame(some, schema=LISTING, orient="row") for some in iter(lambda: list(islice(rest, 10_000)), [])]
    return pl.concat([pl.DataFrame(schema=LISTING), *parts])


def image_id(name: str) -> str | None:
    """The slice that a file is of; None for what is no DICOM file by its name, such as macOS's ._ID_x.dcm."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and ending.lower() == "dcm" and not name.startswith(".") and stem else None


def refuse_names(odd: list[str]) -> None:
    """Refuse names that are not UTF-8, given as printable text.

    Raises:
        DataError: there is one.
    """
    if odd:
        raise DataError(
            f"DICOM file {min(odd)}: names must be UTF-8, for the tables to hold them; rename it ({len(odd)} such "
            "files)"
        )
