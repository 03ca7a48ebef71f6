"""Milliseconds a slice for each preparation step, on one core, with what a slice's time goes to.

    python -m benchmarks.prepare [--patients N]

The slices are phantoms, 512 x 512, uncompressed 16-bit, as large as the competition's. Steps run as `ich` runs them, in
this process; the first run of each is not counted where it compiles. Disk writes go to a temporary folder.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine, timed
from ich.config import Experiment
from ich.config.read import validate
from ich.dicom.read import read_slice
from ich.phantom.dataset import make_patients, phantom
from ich.png import encode_png
from ich.prepare.augment import augment
from ich.prepare.copy import copy
from ich.prepare.index import index
from ich.prepare.preprocess import preprocess
from ich.prepare.sample import sample
from ich.prepare.split import split
from ich.windows import rgb_from_hu
from ich.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40)
    patients = parser.parse_args().patients
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = experiment(Path(folder), patients)
        table = Table(
            "what", "slices", "ms a slice", title=f"preparation, one core of {machine()}", title_justify="left"
        )
        for name, slices, seconds in [*steps(config), *parts(config)]:
            table.add_row(name, f"{slices:,}", f"{1000 * seconds / slices:.2f}")
    Console().print(table)


def experiment(folder: Path, patients: int) -> Experiment:
    return validate(
        {
            "workspace": str(folder / "workspace"),
            "steps": ["phantom", "index", "split", "sample", "copy", "preprocess", "augment"],
            "phantom": {"patients": patients, "quirks": False},
            "copy": {"mode": "copy"},
            "preprocess": {"size": 256, "workers": 1},
            "augment": {"target": 0},
        },
        "benchmark",
    )


def steps(config: Experiment) -> list[tuple[str, int, float]]:
    """Whole steps, as the commands run them."""
    results = []
    outcomes: dict[str, Any] = {}
    for step in (phantom, index, split, sample, copy, preprocess):
        seconds, outcomes[step.__name__] = timed(lambda step=step: step(config))
        results.append((step.__name__, outcomes[step.__name__].counts.get("slices", 0), seconds))
    slices = outcomes["preprocess"].counts["slices"]
    results = [(name, count or slices, seconds) for name, count, seconds in results]
    # The step itself uses all cores. Into empty folders: writing over files costs the disk's time. A process makes its
    # bank of noise with its first patient; how long that takes is a row of its own.
    one, again, rest = (
        timed(lambda where=where, numbers=numbers: make_patients(numbers, elsewhere(config, where)))
        for where, numbers in (("one", [0]), ("again", [0]), ("rest", range(config.phantom.patients)))
    )
    results[0] = ("phantom", len(rest[1]), rest[0])
    results.insert(1, ("  its bank of noise, once a process", 1, one[0] - again[0]))
    few = config.model_copy(update={"augment": config.augment.model_copy(update={"target": 50})})
    many = config.model_copy(update={"augment": config.augment.model_copy(update={"target": 250})})
    (short, less), (long, more) = (timed(lambda how=how: augment(how)) for how in (few, many))
    written = more.counts["augmented images written"] - less.counts["augmented images written"]
    results.append(("augment (all cores), an image more", written, long - short))
    return results


def elsewhere(config: Experiment, name: str) -> Experiment:
    """The same experiment in an empty workspace."""
    return config.model_copy(update={"workspace": config.workspace / name})


def parts(config: Experiment) -> list[tuple[str, int, float]]:
    """What preprocessing one slice consists of."""
    paths = sorted(Workspace(config).copies.glob("*.dcm"))[:300]
    how = config.preprocess
    slices = [read_slice(path) for path in paths]
    images = [rgb_from_hu(ct.hu, how.windows, how.size) for ct in slices]
    jobs: dict[str, Callable[[], object]] = {
        "  read bytes": lambda: [path.read_bytes() for path in paths],
        "  pydicom alone: read and decode": lambda: [pydicom.dcmread(path).pixel_array for path in paths],
        "  read, decode, check, HU": lambda: [read_slice(path) for path in paths],
        "  window and resize": lambda: [rgb_from_hu(ct.hu, how.windows, how.size) for ct in slices],
        "  encode PNG": lambda: [encode_png(image) for image in images],
    }
    return [(name, len(paths), float(np.median([timed(job)[0] for _ in range(5)]))) for name, job in jobs.items()]


if __name__ == "__main__":
    main()
