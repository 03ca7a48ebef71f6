"""Files written whole or not at all, read with errors that say what to do, made in a folder of their own, listed."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from ich.errors import DataError, one_line, printable

if TYPE_CHECKING:
    import polars as pl

_WRITING = ".writing-"  # in the name of every file that is not whole yet
_PATIENCE = 5  # seconds
_ROW_GROUP = 10_000  # rows, held in memory together; fixed, for the same bytes on every machine


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it is renamed to `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}{_WRITING}{uuid4().hex}{path.suffix}")
    temporary.open("xb").close()  # with the rights that the user's umask gives; nothing is written through
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        name_file(error, path)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; its folder must exist. Cheaper than `atomic`, for images.

    For very many small ones, `staging` is quicker where several processes make them.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _new_file(temporary) as file:
            file.write(content)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        name_file(error, path)
        raise


def _new_file(path: Path) -> BinaryIO:
    """A new file, open for writing. What has its name, left by a killed process or planted, is not written through."""
    try:
        return path.open("xb")
    except FileExistsError:
        path.unlink()
        return path.open("xb")


def sweep_half_written(folder: Path) -> None:
    """Remove what killed commands were writing in a folder with `atomic`; nobody else may work there."""
    for leftover in folder.glob(f".*{_WRITING}*"):
        leftover.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: "pl.DataFrame") -> None:
    """Write a table atomically as CSV."""
    write_text(path, table.write_csv())


def write_parquet(path: Path, table: "pl.DataFrame") -> None:
    """Write a table atomically as Parquet."""
    content = parquet_bytes(table)  # in memory first: polars raises an error of its own when a disk is full
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def parquet_bytes(table: "pl.DataFrame") -> bytes:
    """A table as the bytes of a Parquet file."""
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()


def sink_parquet(path: Path, rows: "pl.LazyFrame") -> None:
    """Write a table atomically as Parquet, a part at a time: it need not fit in memory."""
    import polars as pl

    with atomic(path) as temporary:
        try:
            rows.sink_parquet(temporary, row_group_size=_ROW_GROUP)
        except pl.exceptions.ComputeError as error:  # of a full disk too, whose number polars tells sometimes
            if number := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
            _refuse_full_disk(temporary)
            raise


def _refuse_full_disk(path: Path) -> None:
    """Raise the system's error if nothing more can be written to a file that is thrown away."""
    with path.open("ab") as file:
        file.write(bytes(2**20))
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, for people to read too."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def refuse_to_replace(output: Path, is_ours: Callable[[Path], bool]) -> None:
    """Check, before anything is computed, that nothing but an earlier output would be written over.

    Raises:
        DataError: `output` is a folder, or there already and not one of ours.
    """
    shown = printable(output)
    if output.is_dir():
        raise DataError(f"--output {shown} is a folder; give the name of a CSV file in it")
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise DataError(f"--output {shown}: {printable(folder)} is not a folder; choose another")
    if output.exists() and (not output.is_file() or not is_ours(output)):
        raise DataError(f"--output {shown} exists, and is not a table of an earlier run; choose another name")


def name_file(error: BaseException, path: Path) -> None:
    """Say which file was being written: of a full disk, the system does not."""
    if isinstance(error, OSError) and error.filename is None:
        error.filename = str(path)


def read_parquet(path: Path, columns: "Mapping[str, type[pl.DataType]] | None" = None) -> "pl.DataFrame":
    """Read a Parquet table, all of it or some columns, given with their types.

    Raises:
        DataError: there is no such file, it is damaged, or it lacks a column or has one of another type.
    """
    import polars as pl

    try:
        table = pl.read_parquet(path, columns=list(columns) if columns else None, glob=False)
    except FileNotFoundError as error:
        raise _not_there(path) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error)}); delete it and run its step again") from error
    for column, wanted in (columns or {}).items():
        if table.schema[column] != wanted:
            raise DataError(
                f"{path} cannot be read (column {column} is {table.schema[column]}, not {wanted}); delete it and run "
                "its step again"
            )
    return table


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DataError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(read_whole(path))
    except FileNotFoundError as error:
        raise _not_there(path) from error
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        raise DataError(f"{path} is not valid JSON ({one_line(error)}); delete it and run its step again") from error


def read_whole(path: Path) -> bytes:
    """All bytes of a file; a pipe in its place, which would be waited on for ever, gives none."""
    with _open(path) as file:
        return file.read()


def _open(path: Path) -> io.BufferedReader:
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        DataError: there is no such file.
    """
    try:
        with _open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise _not_there(path) from error


def _not_there(path: Path) -> DataError:
    return DataError(f"{path} does not exist; run the step that writes it (`ich run` does all that are needed)")


def staging(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """A new folder in one that is to be filled, to make files in and move them out of when they are whole.

    Processes and threads that make files in one folder wait for each other (two on ext4: four times as long). It lies
    there because a move from one disk to another would be a copy.
    """
    return tempfile.TemporaryDirectory(prefix=_WRITING, dir=folder)


def sweep_staging(folder: Path) -> None:
    """Remove what killed commands were making in a folder."""
    with os.scandir(folder) as entries:  # a name at a time: there may be a million
        leftovers = [folder / entry.name for entry in entries if entry.name.startswith(_WRITING)]
    for leftover in leftovers:
        if leftover.is_symlink() or not leftover.is_dir():
            leftover.unlink(missing_ok=True)
        else:
            _remove_folder(leftover)


def _remove_folder(folder: Path) -> None:
    """Remove a folder and all in it, though a worker that outlives its killed command writes there for an instant."""
    deadline = time.monotonic() + _PATIENCE
    while folder.is_dir():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline)


def list_names(folder: Path) -> "pl.Series":
    """Names of everything in a folder, as a column: a third of the memory that Python's strings take."""
    import polars as pl

    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries)
        parts = [pl.Series("name", some, pl.String) for some in iter(lambda: list(islice(names, _ROW_GROUP)), [])]
    return pl.concat([pl.Series("name", [], pl.String), *parts])


def file_sizes(folder: Path) -> dict[str, int]:
    """`each_file` by name, which takes 200 bytes of memory a file."""
    return dict(each_file(folder))


def each_file(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and size, in bytes, of everything in a folder. A link has its own size, not that of what it points to."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # renamed by a command that works here
                yield entry.name, entry.stat(follow_symlinks=False).st_size
