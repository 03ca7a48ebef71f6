"""The loader of training beside OpenCV's and Pillow's decoders in the same threads, on the same files, in one run.

    python -m benchmarks.loader [--patients N] [--rounds N]

Batches of 32 images of 256 pixels, from phantoms in a temporary folder that step 3 has prepared; all files are in the
disk's cache. Four ways, in turn, N rounds, each begun by another way, with one thread, two, and one for each core:

- `ich.data.image_batches`: as training reads;
- OpenCV: the same batches in the same threads, decoded by `cv2.imdecode`, as the loader does with files of others;
- Pillow: the same with Pillow;
- the floor: the files' bytes, which are not decoded.

Images a second are by the clock, of the median round; a ratio is the median of the rounds' ratios; CPU time is that of
all threads. Every way that decodes must give the same pixels, or the run ends with exit code 1. The bar is for two
threads on two cores.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine, verdict
from ich.config.read import validate
from ich.data import Manifest, image_batches, prefetch
from ich.phantom.dataset import phantom
from ich.prepare.index import index
from ich.prepare.preprocess import preprocess
from ich.prepare.sample import sample
from ich.workspace import Workspace

SIZE, BATCH = 256, 32
OURS, OPENCV, PILLOW, FLOOR = "image_batches", "OpenCV", "Pillow", "the floor"
AT_LEAST, BAR_THREADS = 1500, 2  # images/s

Batches = Callable[[Sequence[Path], int], object]


class Took(NamedTuple):
    """Seconds for all files, by the clock and of the CPU."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_images(Path(folder), options.patients)
        wrong = differences(paths)
        threads = sorted({1, BAR_THREADS, os.cpu_count() or 1})
        table = Table("way", "threads", "images/s", "CPU ms", "time", title_justify="left")
        for number in threads:
            compare(table, paths, number, options.rounds)
        mean = statistics.mean(path.stat().st_size for path in paths)
    table.title = f"{len(paths):,} images of {mean / 1000:.1f} kB, {machine()}, load {os.getloadavg()[0]:.1f}"
    Console().print(table)
    print(wrong or "all ways that decode give the same pixels")
    sys.exit(1 if wrong else 0)


def make_images(folder: Path, patients: int) -> list[Path]:
    config = validate({
        "workspace": str(folder / "workspace"), "steps": ["phantom", "index", "sample", "preprocess"],
        "phantom": {"patients": patients, "quirks": False, "masks": False},
        "sample": {"scope": "all", "per_label": 0, "negatives": 100_000},
        "preprocess": {"size": SIZE},
    }, "benchmark")  # fmt: skip
    for step in (phantom, index, sample, preprocess):
        step(config)
    return sorted(Workspace(config).png.iterdir())


def compare(table: Table, paths: list[Path], threads: int, rounds: int) -> None:
    """Rounds of the four ways in turn; a row a way."""
    took: dict[str, list[Took]] = {name: [] for name in WAYS}
    order = list(WAYS)
    for number in range(rounds):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            took[name].append(measured(WAYS[name], paths, threads))
    for name, each in took.items():
        wall, cpu = (statistics.median(times) for times in zip(*each, strict=True))
        rate = len(paths) / wall
        ratio = statistics.median(one.wall / ours.wall for one, ours in zip(each, took[OURS], strict=True))
        beside = f"takes {ratio:.2f} of ours"
        if name == OURS:
            beside = f"bar: {AT_LEAST:,}, {verdict(rate >= AT_LEAST)}" if threads == BAR_THREADS else ""
        table.add_row(name, str(threads), f"{rate:,.0f}", f"{1000 * cpu / len(paths):.2f}", beside)


def measured(way: Batches, paths: list[Path], threads: int) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    way(paths, threads)
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def ours(paths: Sequence[Path], threads: int) -> None:
    for _ in image_batches(slices_of(paths), SIZE, BATCH, threads):
        pass


def slices_of(paths: Sequence[Path]) -> Manifest:
    return Manifest(tuple(path.stem for path in paths), tuple(paths), np.zeros((len(paths), 6), np.uint8))


def one_by_one(decode: Callable[[Path], NDArray[np.uint8]]) -> Batches:
    """A loader as ours with another decoder."""

    def load(paths: Sequence[Path]) -> NDArray[np.uint8]:
        images = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)
        for image, path in zip(images, paths, strict=True):
            image[:] = decode(path)
        return images

    return lambda paths, threads: drain(load, paths, threads)


def floor(paths: Sequence[Path], threads: int) -> None:
    drain(lambda some: [path.read_bytes() for path in some], paths, threads)


def drain(load: Callable[[Sequence[Path]], object], paths: Sequence[Path], threads: int) -> None:
    for _ in prefetch(load, (paths[start : start + BATCH] for start in range(0, len(paths), BATCH)), threads):
        pass


def by_opencv(path: Path) -> NDArray[np.uint8]:
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr))


def by_pillow(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


WAYS: dict[str, Batches] = {OURS: ours, OPENCV: one_by_one(by_opencv), PILLOW: one_by_one(by_pillow), FLOOR: floor}


def differences(paths: list[Path]) -> str:
    """How many images the ways do not agree on; nothing if they agree."""
    images = (image for batch in image_batches(slices_of(paths), SIZE, BATCH) for image in batch)
    wrong = sum(
        not (np.array_equal(image, by_opencv(path)) and np.array_equal(image, by_pillow(path)))
        for image, path in zip(images, paths, strict=True)
    )
    return f"WRONG: {wrong} images differ" if wrong else ""


if __name__ == "__main__":
    main()
