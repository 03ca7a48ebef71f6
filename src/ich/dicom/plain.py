"""Read the plainest DICOM files, as the RSNA's are, in an eighth of pydicom's time; hand over all others.

Plain means: little endian, explicit or implicit, tags in order, no sequence of unknown length before the pixels, text
in ASCII, values of the representation that the dictionary gives, and, for the pixels, 16 bits, uncompressed, exactly as
many as rows and columns say. Of anything else `read` says None, and pydicom reads the file (`ich.dicom.full`). What is
read here is what pydicom would read: `tests/dicom/test_plain.py` compares the two, on damaged files too.
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.dicom.header import ELEMENTS, SliceHeader, make_header

_WANTED = {tag: (keyword, vr.encode()) for keyword, (tag, vr) in ELEMENTS.items()}
_PIXEL_DATA, _TRANSFER_SYNTAX, _META_LENGTH = 0x7FE00010, 0x00020010, 0x00020000
_IMPLICIT, _EXPLICIT, _DEFLATED, _BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))

# Value representations with a length of 2 bytes, and those with 2 reserved bytes and a length of 4 (PS3.5 7.1.2).
_SHORT = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
          b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}  # fmt: skip
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}

# Of meta information without a length pydicom tries the first element: these cannot fail.
_ANY_BYTES = (b"OB", b"UI")

# Text in which every character set agrees; backslash separates values, and tilde is an overline in one set.
_PLAIN_TEXT = frozenset(range(0x20, 0x7E)) - {ord("\\")}
_LONGEST_VALUE = 1024  # bytes; longer ones are no ids and no positions

Value = str | int | list[float]


class _NotPlain(Exception):
    """The file is for pydicom."""


class _Start(NamedTuple):
    """Where the pixels begin: after their tag. The rest is the header."""

    values: dict[str, Value]
    transfer_syntax: str
    offset: int


def read_header(content: bytes) -> SliceHeader | None:
    """The header of a file of which at least the part before the pixels is given; None: not plain, or not all of it."""
    try:
        values, transfer_syntax, _ = _scan(content)
    except (_NotPlain, struct.error):
        return None
    return make_header(values.get, transfer_syntax)


def read(content: bytes) -> tuple[SliceHeader, NDArray[np.int16] | NDArray[np.uint16]] | None:
    """Header and stored values, (rows, columns) int16 or uint16, of a whole file; None: not plain."""
    try:
        values, transfer_syntax, offset = _scan(content)
        header = make_header(values.get, transfer_syntax)
        return header, _pixels(content, offset, header)
    except (_NotPlain, struct.error):
        return None


def _scan(content: bytes) -> _Start:
    """Go through the data elements up to the pixels, and keep the values that are wanted."""
    if content[128:132] != b"DICM":
        raise _NotPlain
    offset, transfer_syntax = _scan_meta(content)
    explicit = transfer_syntax != _IMPLICIT
    if transfer_syntax in (_DEFLATED, _BIG_ENDIAN) or (not explicit and content[offset + 4 : offset + 6].isupper()):
        raise _NotPlain
    values: dict[str, Value] = {}
    last = 0
    while True:
        tag, vr, start, stop = _element(content, offset, explicit)
        if tag <= last:
            raise _NotPlain
        if tag >> 16 == _PIXEL_DATA >> 16:
            if tag != _PIXEL_DATA:  # pixels of another kind
                raise _NotPlain
            return _Start(values, transfer_syntax, offset)
        if stop > len(content):
            raise _NotPlain
        if tag in _WANTED:
            keyword, expected = _WANTED[tag]
            if explicit and vr != expected:
                raise _NotPlain
            values[keyword] = _value(content[start:stop], expected)
        last, offset = tag, stop


def _scan_meta(content: bytes) -> tuple[int, str]:
    """File meta information (PS3.10 7.1): where it ends, and the transfer syntax; many of RSNA's have no length."""
    offset, last, end, transfer_syntax = 132, 0, None, ""
    while content[offset : offset + 2] == b"\2\0":
        tag, vr, start, offset = _element(content, offset, explicit=True)
        if tag <= last or (not last and tag != _META_LENGTH and vr not in _ANY_BYTES):
            raise _NotPlain
        value = content[start:offset]
        if tag == _META_LENGTH:
            if vr != b"UL" or len(value) != 4:
                raise _NotPlain
            end = offset + int.from_bytes(value, "little")
        elif tag == _TRANSFER_SYNTAX and vr == b"UI":
            transfer_syntax = str(_value(value, vr))
        last = tag
    if not transfer_syntax or (end is not None and offset != end):
        raise _NotPlain
    return offset, transfer_syntax


def _element(content: bytes, offset: int, explicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, value representation, and where the value begins and ends, of the data element at an offset."""
    if not explicit:
        group, element, length = struct.unpack_from("<HHL", content, offset)
        return group << 16 | element, b"", offset + 8, offset + 8 + length
    group, element, vr, length = struct.unpack_from("<HH2sH", content, offset)
    if vr in _SHORT:
        return group << 16 | element, vr, offset + 8, offset + 8 + length
    if vr not in _LONG:
        raise _NotPlain
    (length,) = struct.unpack_from("<L", content, offset + 8)
    return group << 16 | element, vr, offset + 12, offset + 12 + length


def _value(raw: bytes, vr: bytes) -> Value:
    if vr == b"US":
        if len(raw) != 2:
            raise _NotPlain
        return int.from_bytes(raw, "little")
    if len(raw) > _LONGEST_VALUE:
        raise _NotPlain
    if vr == b"IS":
        return _whole(raw)
    if vr == b"DS":
        return _decimals(raw)
    text = raw.rstrip(b"\0 ")
    if not _PLAIN_TEXT.issuperset(text) or (vr == b"CS" and text[:1] == b" "):
        raise _NotPlain
    return text.decode("ascii")


def _decimals(raw: bytes) -> list[float]:
    try:
        return [float(part) for part in raw.decode("ascii").split("\\")]
    except ValueError as error:
        raise _NotPlain from error


def _whole(raw: bytes) -> int:
    try:
        return int(raw)
    except ValueError as error:  # several numbers, too
        raise _NotPlain from error


def _pixels(content: bytes, offset: int, header: SliceHeader) -> NDArray[np.int16] | NDArray[np.uint16]:
    if header.transfer_syntax not in (_IMPLICIT, _EXPLICIT) or header.bits_allocated != 16 or header.signed is None:
        raise _NotPlain
    if header.samples != 1 or header.photometric is None or (header.frames or 1) != 1:
        raise _NotPlain
    if not 0 < (header.bits_stored or 0) <= 16:
        raise _NotPlain
    _, vr, start, stop = _element(content, offset, header.transfer_syntax == _EXPLICIT)
    rows, columns = header.rows or 0, header.columns or 0
    if vr not in (b"", b"OW", b"OB") or stop != len(content) or stop - start != 2 * rows * columns or start == stop:
        raise _NotPlain
    stored = np.frombuffer(content, "<i2" if header.signed else "<u2", rows * columns, start).reshape(rows, columns)
    unused = 16 - (header.bits_stored or 0)
    if unused:  # their content means nothing (PS3.5 8.1.1): carry the sign into them, as pydicom does
        stored = np.left_shift(stored, unused)
        np.right_shift(stored, unused, out=stored)
    return stored
