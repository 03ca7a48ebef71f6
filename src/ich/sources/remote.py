"""DICOM files in an object store, or wherever else fsspec reaches: s3://, gs://, http://, ..."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from ich.dicom.read import LARGEST_FILE, CannotRead
from ich.errors import DataError, UnreadableSlice, one_line
from ich.sources.file import SourceFile, image_id, listing


def is_url(source: str) -> bool:
    """Whether this is a URL, and not a path."""
    return "://" in source


def list_files(source: str) -> pl.DataFrame:
    """Every `<ImageID>.dcm` under a URL.

    Raises:
        DataError: the store cannot be reached, or what reaches it is not installed.
    """
    system, root = _open(source)
    try:
        found: dict[str, dict[str, Any]] = system.find(root, detail=True)
    except Exception as error:  # each store has its own
        raise DataError(f"{source} cannot be listed ({type(error).__name__}: {one_line(error)})") from error
    return listing(
        SourceFile(name, system.unstrip_protocol(path), about["size"] or 0, _modified_ns(about), _checksum(about))
        for path, about in found.items()
        if (name := image_id(PurePosixPath(path).name))
    )  # fmt: skip


def read_files(files: Sequence[SourceFile], limit: int | None) -> Iterator[bytes | UnreadableSlice]:
    """The bytes of files of one store, asked for together."""
    if not files:
        return
    allowed = [file for file in files if limit is not None or file.size <= LARGEST_FILE]
    system, _ = _open(files[0].path)
    paths = [system._strip_protocol(file.path) for file in allowed]
    answers = iter(system.cat_ranges(paths, 0, limit, on_error="return") if paths else [])
    for file in files:
        if limit is None and file.size > LARGEST_FILE:
            yield UnreadableSlice(f"{file.size:,} bytes are more than a CT slice has")
            continue
        answer = next(answers)
        yield (
            bytes(answer)
            if isinstance(answer, bytes)
            else CannotRead(f"cannot be read: {type(answer).__name__}: {one_line(answer)}")
        )


def _open(url: str) -> tuple[Any, str]:
    """The file system (one a process; fsspec keeps them) and the path in it."""
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        return system, str(path)
    except ImportError as error:
        raise DataError(f"{url} needs packages that are not installed; pip install -e '.[remote]'") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{url} cannot be opened ({one_line(error)})") from error


def _modified_ns(about: dict[str, Any]) -> int:
    for key in ("LastModified", "mtime", "updated", "last_modified"):
        when = about.get(key)
        if isinstance(when, datetime):
            return int(when.timestamp()) * 10**9
        if isinstance(when, (int, float)):
            return int(when * 10**9)
    return 0


def _checksum(about: dict[str, Any]) -> str:
    return str(about.get("ETag") or about.get("etag") or about.get("md5Hash") or "").strip('"')
