"""Read one CT slice: from a file's bytes to its header and Hounsfield units."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich.dicom import isolated, plain
from ich.dicom.header import SliceHeader, rescale_of
from ich.errors import CannotRead, UnreadableSlice, one_line
from ich.hounsfield import LOWEST_HU, Hounsfield, to_hounsfield

HEADER_BYTES = 8192  # at the beginning of a file: enough for most headers, RSNA's have 1,000
LARGEST_FILE = 2**27  # bytes: twice what the largest slice that we take can have uncompressed
_AIR_HU, _DENSE_HU = -900, 1000  # at most air; at least dense bone or metal


@dataclass(frozen=True)
class CtSlice:
    """One slice: its header and its Hounsfield units."""

    header: SliceHeader
    hounsfield: Hounsfield

    @property
    def hu(self) -> NDArray[np.int16]:
        """(rows, columns) int16 HU, at least -1024."""
        return self.hounsfield.hu


def read_header(path: Path) -> SliceHeader:
    """Read a file's header; the pixels are not touched.

    Raises:
        UnreadableSlice: not a file, not DICOM, or cut off inside the header.
    """
    return parse_header(read_bytes(path, HEADER_BYTES), lambda: read_bytes(path))


def read_slice(path: Path) -> CtSlice:
    """Read a file's header and pixels, in HU.

    Raises:
        UnreadableSlice: the file cannot give a CT slice; the message is the reason.
    """
    return parse_slice(read_bytes(path))


def parse_header(start: bytes, whole: Callable[[], bytes] | None = None) -> SliceHeader:
    """`read_header` of a file's bytes, or of its first HEADER_BYTES, if `whole` gets all when these are not enough."""
    header = plain.read_header(start)
    return header if header is not None else isolated.ask("header", whole() if whole else start)


def parse_slice(content: bytes) -> CtSlice:
    """`read_slice` of a file's bytes."""
    header, stored_values = plain.read(content) or isolated.ask("slice", content)
    rescale = rescale_of(header)
    try:
        ct = CtSlice(header, to_hounsfield(stored_values, rescale))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UnreadableSlice(f"cannot be turned into HU: {type(error).__name__}: {one_line(error)}") from error
    _refuse_implausible(ct.hounsfield)
    return ct


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a regular file, all or the first `limit`.

    Raises:
        CannotRead: it cannot be read.
        UnreadableSlice: it is no regular file (a pipe would be waited on for ever), or far larger than a slice can be.
    """
    try:
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableSlice("not a regular file")
            if limit is not None:
                return file.read(limit)
            if status.st_size > LARGEST_FILE:
                raise UnreadableSlice(f"{status.st_size:,} bytes are more than a CT slice has")
            return file.readall()
    except OSError as error:
        raise CannotRead(f"cannot be read: {error.strerror or error}") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its writer


def _refuse_implausible(hounsfield: Hounsfield) -> None:
    """A slice of air is one; a slice without any soft tissue, fat or air is not in HU, whatever its header says."""
    if hounsfield.padding == 1:
        raise UnreadableSlice(
            f"all pixels are under {LOWEST_HU} HU, the density of nothing: these are no Hounsfield units"
        )
    lowest, highest = hounsfield.lowest, hounsfield.highest
    if lowest == highest and lowest > _AIR_HU:
        raise UnreadableSlice(f"all pixels are {lowest} HU: not an image")
    if lowest > _DENSE_HU:
        raise UnreadableSlice(f"no pixel is below {lowest} HU: these are no Hounsfield units")
