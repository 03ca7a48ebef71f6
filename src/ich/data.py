"""Split tables and PNG folders to batches of images: decoded in threads ahead of the network, in a fixed order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
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
class Neighbours:
    """What lies before and after each of n slices (`ich.neighbours`).

    Attributes:
        paths: PNG files of these slices and of all that lie beside them.
        rows: (n, 3) which of `paths` are the slice before, the slice itself, and the one after: red, green and blue.
        window: 0, 1 or 2: the channel of each file that is taken.
    """

    paths: tuple[Path, ...]
    rows: NDArray[np.intp]
    window: int

    def read(self, rows: NDArray[np.intp], size: int) -> NDArray[np.uint8]:
        """See `Manifest.read`; each file is decoded once, however many slices it lies beside."""
        files, places = np.unique(self.rows[rows], return_inverse=True)
        levels = read_pngs([self.paths[file] for file in files], size)[..., self.window]
        images = np.empty((len(rows), size, size, 3), np.uint8)
        for channel, place in enumerate(places.reshape(-1, 3).T):
            images[..., channel] = levels[place]
        return images


@dataclass(frozen=True)
class Manifest:
    """Slices of one split.

    Attributes:
        ids: n ImageIDs; an augmented image has its own.
        paths: n PNG files.
        labels: (n, 6) uint8, 0 or 1, in label order.
        neighbours: of each slice; None: an image is the three windows of its slice.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.uint8]
    neighbours: Neighbours | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp]) -> "Manifest":
        """Some of the slices, in the order of `rows`; their neighbours are the same as before."""
        beside = self.neighbours and replace(self.neighbours, rows=self.neighbours.rows[rows])
        ids, paths = (tuple(names[i] for i in rows) for names in (self.ids, self.paths))
        return Manifest(ids, paths, self.labels[rows], beside)

    def beside(self, neighbours: Neighbours) -> "Manifest":
        """The same slices as images of three neighbours each."""
        return replace(self, neighbours=neighbours)

    def read(self, rows: NDArray[np.intp], size: int) -> NDArray[np.uint8]:
        """What the network sees of some slices: their images from step 3 or 5, or one window of three neighbours.

        Args:
            rows: k of the n slices.
            size: rows and columns that the files must have.

        Returns:
            (k, size, size, 3) uint8.

        Raises:
            DataError: a file cannot be used; see `ich.png.read_png`.
        """
        if self.neighbours is not None:
            return self.neighbours.read(rows, size)
        return read_pngs([self.paths[row] for row in rows], size)


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
    slices: Manifest, size: int, batch_size: int, threads: int | None = None
) -> Generator[NDArray[np.uint8]]:
    """All images in order, (batch_size, size, size, 3) uint8 at a time; the last batch may be shorter."""
    rows, starts = np.arange(len(slices)), range(0, len(slices), batch_size)
    return prefetch(lambda start: slices.read(rows[start : start + batch_size], size), starts, threads)


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
