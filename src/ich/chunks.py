"""Work through many files in chunks, on all cores, so that a run that was cut off continues where it was.

A chunk is a fixed slice of a sorted list. Its result is one Parquet file, written under a temporary name and renamed,
whose name holds a hash of what went in: an old part is believed only if inputs and settings are the same. Any number
of workers gives the same parts.
"""

import contextlib
import functools
import hashlib
import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import polars as pl

from ich import __version__
from ich.errors import IchError
from ich.labels import IMAGE_ID
from ich.progress import progress_bar
from ich.workspace import write_parquet

Item = TypeVar("Item")
CHUNK = 256  # slices: a second or two of work, the most that a cut-off run does again


class SourceFile(NamedTuple):
    """A DICOM file that a step is asked for; size and time tell whether it changed; size -1: there is none."""

    image_id: str
    path: str
    size: int
    modified_ns: int


def source_files(image_ids: Sequence[str], folder: Path) -> list[SourceFile]:
    """Look up `<folder>/<ImageID>.dcm` for every id, in the order given."""
    files = []
    for image_id in image_ids:
        path = folder / f"{image_id}.dcm"
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(f"{path} is no file")  # a folder, or a pipe that would be waited on for ever
            files.append(SourceFile(image_id, str(path), status.st_size, status.st_mtime_ns))
        except OSError:
            files.append(SourceFile(image_id, str(path), -1, 0))
    return files


def run_in_chunks(
    title: str,
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], pl.DataFrame],
    *,
    folder: Path,
    settings: str,
    workers: int = 0,
    chunk: int | None = None,
    intact: Callable[[Sequence[Item], pl.DataFrame], bool],
) -> pl.DataFrame:
    """Do `work` on every chunk that is not done yet, and return the rows of all chunks in order.

    Args:
        title: shown beside the progress bar.
        items: what to work on, in a fixed order.
        work: a picklable function from a chunk to its rows; it runs in other processes.
        folder: where the parts are kept; parts that this call did not ask for are removed.
        settings: text of everything else that the result depends on.
        workers: processes; 0 is one a core, 1 works in this process.
        chunk: items in a chunk, for items that take longer than a slice.
        intact: whether an old part holds what `work` would give for the chunk, and what it speaks of is still there;
            if not, the chunk is done again.

    Raises:
        IchError: a worker process died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = chunk or CHUNK
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    parts = [folder / f"{number:06d}-{_key(chunk, settings)}.parquet" for number, chunk in enumerate(chunks)]
    for stale in set(folder.glob("*.parquet")) - set(parts):
        stale.unlink()  # before the work: what it speaks of is about to be written over
    todo = [(chunk, part) for chunk, part in zip(chunks, parts, strict=True) if not _is_done(chunk, part, intact)]
    with progress_bar(title, total=len(items), done=len(items) - sum(len(chunk) for chunk, _ in todo)) as advance:
        _run(functools.partial(_do, work), todo, min(workers or os.cpu_count() or 1, len(todo)), advance)
    return pl.concat([pl.read_parquet(part, glob=False) for part in parts]) if parts else work([])


def holds(chunk: Sequence[SourceFile], part: pl.DataFrame, schema: Mapping[str, Any]) -> bool:
    """Whether a part has the columns of `schema`, and a row for each file of its chunk, in order."""
    return part.schema == pl.Schema(schema) and part[IMAGE_ID].to_list() == [file.image_id for file in chunk]


def _is_done(chunk: Sequence[Item], part: Path, intact: Callable[[Sequence[Item], pl.DataFrame], bool]) -> bool:
    try:
        return part.is_file() and intact(chunk, pl.read_parquet(part, glob=False))
    except pl.exceptions.PolarsError:  # a damaged part is no part
        return False


def _key(chunk: Sequence[Item], settings: str) -> str:
    return hashlib.sha256(f"{__version__}\n{settings}\n{list(chunk)!r}".encode()).hexdigest()[:16]


def _do(work: Callable[[Sequence[Item]], pl.DataFrame], chunk: Sequence[Item], part: Path) -> int:
    write_parquet(part, work(chunk))
    return len(chunk)


def _run(
    do: Callable[[Sequence[Item], Path], int],
    todo: list[tuple[Sequence[Item], Path]],
    workers: int,
    advance: Callable[[int], None],
) -> None:
    if workers <= 1:
        for chunk, part in todo:
            advance(do(chunk, part))
        return
    # Spawned, not forked: polars and OpenCV hold threads, and a forked lock is never released.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        with _interrupts_ignored():  # by workers too: they inherit it, and are started as work is submitted
            futures: list[Future[int]] = [pool.submit(do, chunk, part) for chunk, part in todo]
        for future in as_completed(futures):
            advance(future.result())
    except BrokenProcessPool as error:
        raise IchError("a worker process died (out of memory?); run again to continue, with fewer workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C is the parent's business; a worker that it stopped would only print a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its workers."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
