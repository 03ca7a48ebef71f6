"""Split tables and PNG folders to batches of images: decoded in threads ahead of the network, in a fixed order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ich.errors import DataError
from ich.interrupts import check
from ich.labels import IMAGE_ID, LABELS, read_table
from ich.png import read_pngs

# Each holds a batch in memory. 16 read 4,800 images/s (256 pixels; the reader takes Python's lock less often since).
_MOST_THREADS = 16

Job = TypeVar("Job")
Result = TypeVar("Result")
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Manifest:
    """Slices of one split.

    Attributes:
        ids: n ImageIDs; an augmented image has its own.
        paths: n PNG files.
        labels: (n, 6) uint8, 0 or 1, in label order.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp]) -> "Manifest":
        """Some of the slices, in the order of `rows`."""
        return Manifest(tuple(self.ids[i] for i in rows), tuple(self.paths[i] for i in rows), self.labels[rows])


def read_manifest(table: Path, images: Path) -> Manifest:
    """Slices of a split table, in its order, and where their images are.

    Args:
        table: CSV with ImageID and the six labels.
        images: folder that holds <ImageID>.png for every row.

    Raises:
        DataError: the table is not there, is empty or lacks a column, or an image is not there.
    """
    rows = read_table(table)
    if rows.is_empty():
        raise DataError(f"{table} has no rows; check split.fractions and sample, then run the steps before train again")
    ids = tuple(rows[IMAGE_ID].to_list())
    there = {file.name for file in images.iterdir()} if images.is_dir() else set()
    missing = [name for name in ids if f"{name}.png" not in there]
    if missing:
        raise DataError(
            f"{images / missing[0]}.png does not exist ({len(missing)} of the {len(ids)} images that {table.name} "
            "lists are missing); run preprocess and the steps after it again"
        )
    return Manifest(ids, tuple(images / f"{name}.png" for name in ids), rows.select(LABELS).to_numpy().astype(np.uint8))


def image_batches(
    paths: Sequence[Path], size: int, batch_size: int, threads: int | None = None
) -> Generator[NDArray[np.uint8]]:
    """All images in order, (batch_size, size, size, 3) uint8 at a time; the last batch may be shorter."""
    starts = range(0, len(paths), batch_size)
    return prefetch(lambda start: read_pngs(paths[start : start + batch_size], size), starts, threads)


def pad_batch(batch: NDArray[Number], batch_size: int) -> NDArray[Number]:
    """Fill a short batch up with zeros (air): a network is compiled anew for each shape that it meets."""
    lacking = batch_size - len(batch)
    return np.pad(batch, [(0, lacking)] + [(0, 0)] * (batch.ndim - 1)) if lacking else batch


def prefetch(load: Callable[[Job], Result], jobs: Iterable[Job], threads: int | None = None) -> Generator[Result]:
    """`map(load, jobs)` with the next few results made ahead in threads; same order, same errors.

    Closing the iterator early (its `close`, or dropping it) stops the work. `jobs` may be endless.
    """
    threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        try:
            for job in jobs:
                check()
                waiting.append(pool.submit(load, job))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
