"""Work through many files in chunks, on all cores or machines, so that a run that was cut off continues where it was.

A chunk is a fixed slice of a sorted list. Its result is one Parquet file, written under a temporary name and renamed,
whose name holds a hash of what went in and one of its bytes: an old part is believed only if inputs and settings are
the same and it is as it was written. So any number of workers, on any number of machines that share the workspace,
gives the same parts.
"""

import contextlib
import functools
import hashlib
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import polars as pl
import xxhash

from ich import __version__
from ich.errors import IchError
from ich.files import atomic, parquet_bytes, read_whole
from ich.interrupts import check, remembered_only
from ich.labels import IMAGE_ID
from ich.progress import progress_bar
from ich.sources.file import SourceFile

Item = TypeVar("Item")
Work = Callable[[Sequence[Item]], pl.DataFrame]
Job = tuple[Sequence[Item], Path]  # a chunk, and its part's path up to the hash of its bytes
CHUNK = 256  # slices: half a second of work, the most that each worker of a cut-off run does again
WAITING = 2  # chunks for each worker, beside the one that it has: more would only take memory


def run_in_chunks(
    title: str,
    items: Sequence[Item],
    work: Work[Item],
    *,
    folder: Path,
    settings: str,
    workers: int = 0,
    executor: Literal["processes", "ray"] = "processes",
    chunk: int | None = None,
    intact: Callable[[Sequence[Item], pl.DataFrame], bool],
) -> pl.LazyFrame:
    """Do `work` on every chunk that is not done yet, and return the rows of all chunks in order, not read yet.

    Args:
        title: shown beside the progress bar.
        items: what to work on, in a fixed order.
        work: a picklable function from a chunk to its rows; it runs in other processes.
        folder: where the parts are kept; parts that this call did not ask for are removed.
        settings: text of everything else that the result depends on.
        workers: processes; 0 is one a core (of the cluster), 1 works in this process.
        executor: processes of this machine, or a Ray cluster.
        chunk: items in a chunk, for items that take longer than a slice.
        intact: whether an old part holds what `work` would give for the chunk, and what it speaks of is still there;
            if not, the chunk is done again.

    Raises:
        IchError: a worker process died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = chunk or CHUNK
    starts = range(0, len(items), size)
    names = [f"{n:06d}-{_key(items[at : at + size], settings)}" for n, at in enumerate(starts)]
    there = _parts(folder)
    done = {
        name: there[name]
        for name, at in zip(names, starts, strict=True)
        if name in there and _is_done(items[at : at + size], there[name], intact)
    }
    for stale in set(folder.glob("*.parquet")) - set(done.values()):
        stale.unlink(missing_ok=True)  # before the work: what it speaks of is about to be written over
    todo = [at for name, at in zip(names, starts, strict=True) if name not in done]
    left = sum(min(size, len(items) - at) for at in todo)
    jobs = ((items[at : at + size], folder / names[at // size]) for at in todo)
    with progress_bar(title, total=len(items), done=len(items) - left) as advance:
        _run(functools.partial(_do, work), jobs, len(todo), workers, executor, advance)
    there = _parts(folder)
    return pl.scan_parquet([there[name] for name in names], glob=False) if names else work([]).lazy()


def holds(chunk: Sequence[SourceFile], part: pl.DataFrame, schema: Mapping[str, Any]) -> bool:
    """Whether a part has the columns of `schema`, and a row for each file of its chunk, in order.

    A file that was there but could not be read, on a disk or network that failed, is tried again.
    """
    if part.schema != pl.Schema(schema) or part[IMAGE_ID].to_list() != [file.image_id for file in chunk]:
        return False
    unread = part.select(pl.col("status") == "missing").to_series()
    return not any(missing and file.size >= 0 for missing, file in zip(unread, chunk, strict=True))


def _parts(folder: Path) -> dict[str, Path]:
    """Whole parts, by number and hash of what went in."""
    return {path.stem.rpartition("-")[0]: path for path in sorted(folder.glob("[0-9]*.parquet"))}


def _is_done(chunk: Sequence[Item], part: Path, intact: Callable[[Sequence[Item], pl.DataFrame], bool]) -> bool:
    try:
        content = read_whole(part)
    except OSError:
        return False
    as_written = part.stem.rpartition("-")[2] == xxhash.xxh3_64_hexdigest(content)
    return as_written and intact(chunk, pl.read_parquet(io.BytesIO(content)))


def _key(chunk: Sequence[Item], settings: str) -> str:
    return hashlib.sha256(f"{__version__}\n{settings}\n{list(chunk)!r}".encode()).hexdigest()[:16]


def _do(work: Work[Item], chunk: Sequence[Item], part: Path) -> int:
    content = parquet_bytes(work(chunk))
    with atomic(part.with_name(f"{part.name}-{xxhash.xxh3_64_hexdigest(content)}.parquet")) as temporary:
        temporary.write_bytes(content)
    return len(chunk)


def _run(
    do: Callable[[Sequence[Item], Path], int],
    jobs: Iterator[Job[Item]],
    count: int,
    workers: int,
    executor: Literal["processes", "ray"],
    advance: Callable[[int], None],
) -> None:
    if executor == "ray" and count:
        from ich.ray_cluster import run_on_cluster

        run_on_cluster(do, jobs, workers, advance)
        return
    processes = min(workers or os.cpu_count() or 1, count)
    if processes > 1:
        _run_in_processes(do, jobs, processes, advance)
        return
    for chunk, part in jobs:
        advance(do(chunk, part))


def _run_in_processes(
    do: Callable[[Sequence[Item], Path], int],
    jobs: Iterator[Job[Item]],
    processes: int,
    advance: Callable[[int], None],
) -> None:
    # Spawned, not forked: polars and OpenCV hold threads, and a forked lock is never released.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start_worker)
    pending: set[Future[int]] = set()
    try:
        while True:
            with remembered_only(), _interrupts_held():  # workers are started as work is submitted, and inherit it
                room = processes * (1 + WAITING) - len(pending)
                pending |= {pool.submit(do, chunk, part) for chunk, part in islice(jobs, room)}
            check()
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                advance(future.result())
    except BrokenProcessPool as error:
        raise IchError("a worker process died (out of memory?); run again to continue, with fewer workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the block ends; in a process that is started here, until `_start_worker` forgets it.

    It is the parent's business; a worker that it stopped would only print a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread()


def one_thread() -> None:
    """Keep OpenCV to the worker's own core."""
    import cv2

    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its workers."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
