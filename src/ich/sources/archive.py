"""DICOM files in a zip file, read in place: the competition's is 180 GB, and 395 GB unpacked."""

import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import polars as pl
from isal import isal_zlib

from ich.dicom.read import LARGEST_FILE
from ich.errors import CannotRead, DataError, UnreadableSlice, one_line
from ich.sources.file import SourceFile, image_id, listing

_ENTRY = struct.Struct("<4s5H3L2H")  # local file header (APPNOTE 4.3.7): lengths of name and extra field come last
_ENCRYPTED = 1
_FAULTS = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error)


def split(source: str) -> tuple[Path, str] | None:
    """The zip file and the folder in it that a path means; None if no part of it is a zip file."""
    path = Path(source)
    for candidate in (path, *path.parents):
        if candidate.suffix.lower() == ".zip" and candidate.is_file():
            inside = path.relative_to(candidate).as_posix()
            return candidate, "" if inside == "." else f"{inside}/"
    return None


def list_files(source: str) -> pl.DataFrame:
    """Every `<ImageID>.dcm` in a zip file, or in a folder in it.

    Raises:
        DataError: it cannot be read, or has no such folder.
    """
    path, inside = split(source) or (Path(source), "")
    modified_ns = path.stat().st_mtime_ns
    try:
        with zipfile.ZipFile(path) as content:
            members = [member for member in content.infolist() if member.filename.startswith(inside)]
    except _FAULTS as error:
        raise DataError(f"zip file {path} cannot be read ({one_line(error)}); get it again") from error
    if inside and not members:
        raise DataError(f"zip file {path} has no folder {inside}; `unzip -l` lists what it has")
    return listing(
        SourceFile(
            name, f"{path}/{member.filename}", member.file_size, modified_ns, f"{member.CRC:08x}", str(path),
            member.header_offset, member.compress_size,
        )
        for member in members
        if not member.is_dir() and (name := image_id(PurePosixPath(member.filename).name))
    )  # fmt: skip


def extract(source: str, target: Path) -> None:
    """Write a member of a zip file, of any kind and size, to a path.

    Raises:
        DataError: there is no such member, or it cannot be read.
    """
    path, inside = split(source) or (Path(source), "")
    try:
        with zipfile.ZipFile(path) as content, content.open(inside.rstrip("/")) as member, target.open("wb") as file:
            shutil.copyfileobj(member, file, 2**20)
    except KeyError as error:
        raise DataError(f"zip file {path} has no {inside.rstrip('/')}; `unzip -l` lists what it has") from error
    except (*_FAULTS, RuntimeError, EOFError, zlib.error) as error:  # RuntimeError: encrypted
        raise DataError(f"{source} cannot be read ({one_line(error)}); get it again") from error


def read_bytes(file: SourceFile, limit: int | None = None) -> bytes:
    """The bytes of a member, all, with its checksum checked, or the first `limit`.

    Raises:
        UnreadableSlice: encrypted, compressed in another way than deflate, damaged, or far larger than a slice can be.
        CannotRead: the zip file cannot be read, or is another than was listed.
    """
    if file.size > LARGEST_FILE and limit is None:
        raise UnreadableSlice(f"{file.size:,} bytes are more than a CT slice has")
    try:
        with open(file.archive, "rb", buffering=0) as archive:  # noqa: PTH123 - a third of the time
            if os.fstat(archive.fileno()).st_mtime_ns != file.modified_ns:
                raise CannotRead("the zip file changed since its files were listed; run again")
            method, start = _entry(archive.fileno(), file.offset)
            packed = file.packed if limit is None else min(file.packed, limit)
            raw = os.pread(archive.fileno(), min(packed, LARGEST_FILE), start)
    except OSError as error:
        raise CannotRead(f"cannot be read: {error.strerror or error}") from error
    if method == zipfile.ZIP_STORED:
        content = raw
    elif method == zipfile.ZIP_DEFLATED:
        content = _inflate(raw, file.size if limit is None else min(file.size, limit))
    else:
        raise UnreadableSlice(f"compressed by method {method} in the zip file; only deflate is read")
    if limit is None and (len(content) != file.size or f"{isal_zlib.crc32(content):08x}" != file.checksum):
        raise UnreadableSlice("damaged in the zip file: its checksum is another")
    return content


def _entry(archive: int, offset: int) -> tuple[int, int]:
    """Compression method of a member, and where its bytes begin."""
    fields = os.pread(archive, _ENTRY.size, offset)
    if len(fields) < _ENTRY.size or not fields.startswith(b"PK\3\4"):
        raise UnreadableSlice("damaged in the zip file: no entry where the directory says")
    _, _, flags, method, *_, name, extra = _ENTRY.unpack(fields)
    if flags & _ENCRYPTED:
        raise UnreadableSlice("encrypted in the zip file")
    return method, offset + _ENTRY.size + name + extra


def _inflate(raw: bytes, length: int) -> bytes:
    """At most `length` bytes, or one: what a directory says of a size need not be true."""
    try:
        return isal_zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, max(length, 1))  # 0 would be without limit
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub gives an instance
        raise UnreadableSlice(f"damaged in the zip file: {one_line(error)}") from error
