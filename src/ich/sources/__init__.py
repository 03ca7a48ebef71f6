"""Where DICOM files are: folders, zip files, object stores; listed once, then read by any process.

    /data/stage_2_train                   a folder, searched with the folders in it
    /data/rsna.zip                        a zip file, read in place
    /data/rsna.zip/rsna/stage_2_train     a folder in a zip file
    s3://bucket/stage_2_train             any URL that fsspec knows

Every `<ImageID>.dcm` in them is a slice.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import polars as pl

from ich.dicom.read import LARGEST_FILE, read_bytes
from ich.errors import CannotRead, DataError, UnreadableSlice
from ich.labels import IMAGE_ID
from ich.sources import archive, folder, remote
from ich.sources.file import LISTING, SourceFile

_AT_ONCE, _BYTES_AT_ONCE = 32, 2**25  # of an object store, asked for together: half a second's waiting, 17 MB of slices

Content = bytes | UnreadableSlice
NO_FILE = "no such file"


class Files(Sequence[SourceFile]):
    """Many files, held as a table: a tenth of the memory that tuples take."""

    def __init__(self, table: pl.DataFrame) -> None:
        """`table`: of the columns LISTING."""
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[SourceFile]:
        return (SourceFile(*row) for row in self.table.iter_rows())

    @overload
    def __getitem__(self, at: int) -> SourceFile: ...

    @overload
    def __getitem__(self, at: slice) -> list[SourceFile]: ...

    def __getitem__(self, at: int | slice) -> SourceFile | list[SourceFile]:
        if isinstance(at, slice):
            return [SourceFile(*row) for row in self.table[at].iter_rows()]
        return SourceFile(*self.table.row(at))


def list_files(sources: Sequence[str]) -> Files:
    """Every `<ImageID>.dcm` in the sources, sorted by ImageID.

    Raises:
        DataError: a source is not there or cannot be listed, there is no such file in any of them, one has a name that
            tables cannot hold, or two have the same name.
    """
    files = Files(_list_files(sources).sort(IMAGE_ID))
    if not files:
        raise DataError(
            f"DICOM folder {', '.join(sources)} holds no .dcm files; set data.dicom to the folder that does"
        )
    return files


def locate_files(image_ids: Sequence[str] | pl.Series, sources: Sequence[str]) -> Files:
    """The file of each slice, in the order given; one that is not there has the size -1.

    Raises:
        DataError: as `list_files`, but for sources without any file.
    """
    wanted = pl.DataFrame({IMAGE_ID: image_ids}, schema={IMAGE_ID: pl.String})
    found = wanted.join(_list_files(sources), on=IMAGE_ID, how="left", maintain_order="left")
    return Files(found.with_columns(**expected(sources)).select(*LISTING))


def _list_files(sources: Sequence[str]) -> pl.DataFrame:
    """Every file, in any order: who needs one sorts, since sorting is a copy of all."""
    table = pl.concat([_list_one(source) for source in _apart(sources)], rechunk=False)
    twice = table.filter(pl.col(IMAGE_ID).is_duplicated()).sort(IMAGE_ID, "path")
    if not twice.is_empty():
        first, second = twice["path"][:2]
        raise DataError(
            f"two files have the name of one slice, {first} and {second} ({twice[IMAGE_ID].n_unique()} such names); "
            "an ImageID names one slice: rename or move one of them"
        )
    return table


def is_folder(source: str) -> bool:
    """Whether a source is a folder, whose files have paths, and not a zip file or URL."""
    return not remote.is_url(source) and not archive.split(source)


def refuse_missing(sources: Sequence[str]) -> None:
    """Look whether paths are there, without listing what they hold.

    Raises:
        DataError: one is not there.
    """
    for source in sources:
        if is_folder(source):
            folder.refuse_missing(source)


def expected(sources: Sequence[str]) -> dict[str, pl.Expr]:
    """What fills a listing's columns for a slice without a file: where it would be, and that it is not."""
    place = pl.format("{}/{}.dcm", pl.lit(sources[0].rstrip("/")), IMAGE_ID)
    empty = {"path": place, "size": -1, "modified_ns": 0, "checksum": pl.lit(""), "archive": pl.lit(""), "offset": -1,
             "packed": -1}  # fmt: skip
    return {column: pl.col(column).fill_null(value) for column, value in empty.items()}


def read_file(file: SourceFile, limit: int | None = None) -> bytes:
    """The bytes of a file, all or the first `limit`.

    Raises:
        UnreadableSlice: with the reason; CannotRead if the bytes are not to be had now, but may be another time.
    """
    ((_, content),) = read_files([file], limit)
    if isinstance(content, UnreadableSlice):
        raise content
    return content


def read_files(files: Iterable[SourceFile], limit: int | None = None) -> Iterator[tuple[SourceFile, Content]]:
    """Read files one after the other, those of an object store some at a time; what cannot be read gives the reason."""
    for batch in _batches(files, limit):
        far = [file for file in batch if remote.is_url(file.path)]
        fetched = dict(zip(far, remote.read_files(far, limit), strict=True))
        for file in batch:
            yield file, fetched[file] if file in fetched else _read_near(file, limit)


def _batches(files: Iterable[SourceFile], limit: int | None) -> Iterator[list[SourceFile]]:
    """Some files at a time, fewer if they are large: what is not uncompressed slices may be, and must fit in memory."""
    batch: list[SourceFile] = []
    size = 0
    for file in files:
        wanted = min(file.size, LARGEST_FILE if limit is None else limit)
        if batch and (len(batch) == _AT_ONCE or size + wanted > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += wanted
    if batch:
        yield batch


def _read_near(file: SourceFile, limit: int | None) -> Content:
    if file.size < 0:
        return CannotRead(NO_FILE)
    try:
        return archive.read_bytes(file, limit) if file.archive else read_bytes(Path(file.path), limit)
    except UnreadableSlice as error:
        return error


def _apart(sources: Sequence[str]) -> list[str]:
    """Sources without those that are, or lie in, a folder that is named too, whatever way it is written."""
    places = [Path(source).resolve() if is_folder(source) else None for source in sources]
    return [
        source
        for number, (source, place) in enumerate(zip(sources, places, strict=True))
        if place is None
        or not any(
            other in place.parents or (other == place and earlier < number)
            for earlier, other in enumerate(places)
            if other is not None
        )
    ]


def _list_one(source: str) -> pl.DataFrame:
    if remote.is_url(source):
        return remote.list_files(source)
    return archive.list_files(source) if archive.split(source) else folder.list_files(source)
