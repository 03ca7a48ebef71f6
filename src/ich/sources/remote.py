"""DICOM files in an object store, or wherever else fsspec reaches: s3://, gs://, ..."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from ich.dicom.read import LARGEST_FILE
from ich.errors import CannotRead, DataError, UnreadableSlice, one_line
from ich.sources.file import SourceFile, image_id, listing

# s3fs tries five times what botocore tries five times, a minute each: a misspelt name would take many.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}}
}
_FIXES = {  # by what the name of an exception holds
    "NotFound": "correct the URL",
    "Credentials": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket",
    "Permission": "use credentials that may list and read it",
    "Connect": "is the network there, and AWS_ENDPOINT_URL, if set, right?",
}


def is_url(source: str) -> bool:
    """Whether this is a URL, and not a path."""
    return "://" in source


def list_files(source: str) -> pl.DataFrame:
    """Every `<ImageID>.dcm` under a URL.

    Raises:
        DataError: there is nothing, the store cannot be reached or refuses, or what reaches it is not installed.
    """
    system, root = _open(source)
    with _faults_of(source):
        found: dict[str, dict[str, Any]] = system.find(root, detail=True)
        for path, about in found.items():
            if about["size"] is None:  # of HTTP: asked for one by one
                about["size"] = system.size(path)
            if about["size"] is None:
                raise DataError(f"{source} does not tell the size of {path}; copy its files into a folder first")
    if not found:
        raise DataError(f"there is nothing at {source}; set data.dicom to where the .dcm files are")
    return listing(
        SourceFile(name, system.unstrip_protocol(path), about["size"], *_state(about))
        for path, about in found.items()
        if (name := image_id(path.rpartition("/")[2]))
    )  # fmt: skip


def read_files(files: Sequence[SourceFile], limit: int | None) -> Iterator[bytes | UnreadableSlice]:
    """The bytes of files, asked for together: all of each, or the first `limit`.

    Raises:
        DataError: what reaches their store is not installed.
    """
    wanted = {file.path for file in files if file.size > 0 and (limit is not None or file.size <= LARGEST_FILE)}
    answers = _fetch(sorted(wanted), limit)
    for file in files:
        if file.path in wanted:
            yield answers[file.path]
        elif file.size < 0:
            yield CannotRead("no such file")
        else:
            yield UnreadableSlice(f"{file.size:,} bytes are more than a CT slice has") if file.size else b""


def identity(url: str) -> tuple[int, int, str]:
    """What tells whether a file changed: bytes, when it was changed (ns since 1970), and its checksum, if known.

    Raises:
        DataError: it is not there or cannot be had.
    """
    system, path = _open(url)
    with _faults_of(url):
        about = system.info(path)
    return about["size"] or 0, *_state(about)


def download(url: str, target: Path) -> None:
    """Write a file of any size to a path.

    Raises:
        DataError: it is not there or cannot be had.
    """
    system, path = _open(url)
    with _faults_of(url):
        system.get_file(path, str(target))


def _fetch(urls: Sequence[str], limit: int | None) -> dict[str, bytes | UnreadableSlice]:
    """Content of files that may be in different stores."""
    answers: dict[str, bytes | UnreadableSlice] = {}
    for _, some in groupby(urls, lambda url: url.split("/")[:3]):
        theirs = list(some)
        system, _ = _open(theirs[0])
        try:
            paths = [system._strip_protocol(url) for url in theirs]
            got = system.cat_ranges(paths, 0, limit, on_error="return")
        except Exception as error:  # each store has its own
            got = [error] * len(theirs)
        answers |= {url: _answer(content) for url, content in zip(theirs, got, strict=True)}
    return answers


def _answer(content: Any) -> bytes | UnreadableSlice:
    if isinstance(content, bytes):
        return content
    return CannotRead(f"cannot be read: {type(content).__name__}: {one_line(content)}")


def _open(url: str) -> tuple[Any, str]:
    """The file system (one a process; fsspec keeps them) and the path in it.

    Raises:
        DataError: fsspec, or its part for this kind of URL, is not installed, or there is no such kind.
    """
    try:
        import fsspec

        # Nothing is kept of a listing: it would be a second copy of it, and tell of files that are gone.
        system, path = fsspec.url_to_fs(url, use_listings_cache=False, **_OPTIONS.get(url.partition("://")[0], {}))
        return system, str(path)
    except ImportError as error:
        raise DataError(f"{url} needs packages that are not installed; pip install -e '.[remote]'") from error
    except Exception as error:  # each store has its own
        raise DataError(f"{url} cannot be opened ({one_line(error)}); is it spelt right?") from error


@contextlib.contextmanager
def _faults_of(url: str) -> Iterator[None]:
    """One line for whatever a store raises: each has its own exceptions.

    Raises:
        DataError: it raised one.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        name = type(error).__name__
        fixes = (fix for word, fix in _FIXES.items() if word in name)
        raise DataError(f"{url} cannot be had ({name}: {one_line(error)}); {next(fixes, 'try again later')}") from error


def _state(about: dict[str, Any]) -> tuple[int, str]:
    """When a file was last changed, ns since 1970 (0: not known), and what its store has of a checksum."""
    checksum = str(about.get("ETag") or about.get("etag") or about.get("md5Hash") or "").strip('"')
    for key in ("LastModified", "mtime", "updated", "last_modified"):
        when = about.get(key)
        if isinstance(when, datetime):
            return int(when.timestamp()) * 10**9, checksum
        if isinstance(when, (int, float)):
            return int(when * 10**9), checksum
    return 0, checksum
