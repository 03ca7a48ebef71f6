"""Step 3 beside the notebooks' way and the same computation without bookkeeping, on the same files, in one run.

    python -m benchmarks.preprocess [--slices N] [--rounds N] [--dicom FOLDER]

Four ways from the same DICOM files to PNG of 256 pixels, one thread each, in turn, N rounds, each begun by another way:

- `ich preprocess`: the step itself, with its ledger, checks and atomic writes;
- the notebooks' way, as it is described: pydicom, three windows of the whole image in float64, scikit-image's resize,
  Pillow's PNG (the 6 to 8 hours that they are said to take for 55,297 slices are ten times as long as this takes here);
- the same with OpenCV's resize and PNG, as somebody would write it who knows that scikit-image is slow;
- the floor: the kernels of the step (look-up, resize, PNG, hashes) with nothing besides. Read the bytes; values to HU;
  look up; area resize; encode; hash; write. No header is read: where the pixels are and what they mean is known.

Figures are CPU time (of the median round) and the clock's; a ratio is the median of the rounds' ratios of CPU time,
in which the child process that reads what is not plain is counted. The floor must
give the PNG files and hashes that the step gives, or the run ends with exit code 1. Files are phantoms without damage,
in the competition's layout, or those of --dicom, of which only uncompressed ones of 512 x 512 and 16 bits are taken.
"""

import argparse
import hashlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import polars as pl
import psutil
import pydicom
import xxhash
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage.transform import resize

from benchmarks.measure import machine, verdict
from ich.config import Experiment
from ich.config.read import validate
from ich.dicom.read import read_slice
from ich.errors import UnreadableSlice
from ich.hounsfield import LOWEST_HU
from ich.labels import LABELS
from ich.phantom.dataset import folder as phantom_folder
from ich.phantom.dataset import phantom
from ich.png import encode_png
from ich.prepare.preprocess import preprocess
from ich.prepare.sample import sample
from ich.windows import apply_window
from ich.workspace import Workspace

WINDOWS, SIZE = ((75, 215), (40, 80), (600, 2800)), 256
OURS, NOTEBOOKS, FLOOR = "ich preprocess", "the notebooks' way", "the floor"
WITH_OPENCV = "the same with OpenCV's resize and PNG"
AT_LEAST, AT_MOST = 18, 1.4  # times faster than the notebooks' way; times the floor


class Plain(NamedTuple):
    """A file of which everything is known before it is read."""

    path: Path
    dtype: str
    intercept: int


class Took(NamedTuple):
    """Seconds for all files, by the clock and of the CPU."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dicom", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = options.dicom or make_phantoms(root / "phantom", options.slices)
        files = link_plain_files(source, root / "dicom", options.slices)
        table, wrong = compare(files, root, options.rounds)
    table.title = f"{len(files):,} {'slices' if options.dicom else 'phantom slices'}, one core of {machine()}"
    Console().print(table)
    print(wrong or "the floor's PNG files and hashes are those of ich preprocess")
    sys.exit(1 if wrong else 0)


def make_phantoms(root: Path, slices: int) -> Path:
    patients = slices // 25 + 1
    config = validate({
        "workspace": str(root), "steps": ["phantom"],
        "phantom": {"patients": patients, "quirks": False, "masks": False},
    }, "benchmark")  # fmt: skip
    phantom(config)
    return phantom_folder(Workspace(config))


def link_plain_files(source: Path, target: Path, slices: int) -> list[Plain]:
    """Links to plain slices under names that a label CSV can have; a few files are linked many times."""
    found = [plain for path in sorted(source.rglob("*.dcm")) if (plain := as_plain(path))]
    if not found:
        raise SystemExit(f"no uncompressed 512 x 512 slice in {source}")
    target.mkdir(parents=True)
    files = []
    for number in range(slices):
        plain = found[number % len(found)]
        path = target / f"ID_{number:09x}.dcm"
        path.symlink_to(plain.path.resolve())
        files.append(plain._replace(path=path))
    return files


def as_plain(path: Path) -> Plain | None:
    try:
        ct = read_slice(path)
    except UnreadableSlice:
        return None
    header = ct.header
    plain = header.transfer_syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1") and header.slope == 1
    if not plain or ct.hu.shape != (512, 512) or header.bits_allocated != 16 or ct.hounsfield.repairs:
        return None
    return Plain(path, "<i2" if header.signed else "<u2", int(header.intercept or 0))


def compare(files: list[Plain], root: Path, rounds: int) -> tuple[Table, str]:
    """Rounds of the three ways in turn; a row a way, and what is wrong with the floor."""
    labels = "".join(f"{plain.path.stem}_{label},0\n" for plain in files for label in LABELS)
    (root / "labels.csv").write_text(f"ID,Label\n{labels}")
    took: dict[str, list[Took]] = {name: [] for name in (OURS, NOTEBOOKS, WITH_OPENCV, FLOOR)}
    for number in range(rounds):
        config = experiment(root, f"round{number}")
        sample(config)
        hashes: dict[str, tuple[str, str]] = {}
        for name in ("floor", "notebooks", "opencv"):
            (root / f"{name}{number}").mkdir()
        ways: dict[str, Callable[[], object]] = {
            OURS: lambda config=config: preprocess(config),
            NOTEBOOKS: lambda to=root / f"notebooks{number}": [notebooks(plain, to) for plain in files],
            WITH_OPENCV: lambda to=root / f"opencv{number}": [with_opencv(plain, to) for plain in files],
            FLOOR: lambda to=root / f"floor{number}", hashes=hashes: floor(files, to, hashes),
        }
        order = list(ways)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            took[name].append(measured(ways[name]))
    return rows(took, len(files)), differences(Workspace(config), root / f"floor{rounds - 1}", hashes)


def measured(job: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), cpu_seconds()
    job()
    return Took(time.perf_counter() - wall, cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """Of this process and of its children, those that live and those that have ended."""
    living = sum(times.user + times.system for times in (child.cpu_times() for child in psutil.Process().children()))
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + living + ended.ru_utime + ended.ru_stime


def rows(took: dict[str, list[Took]], slices: int) -> Table:
    medians = {name: sorted(each, key=lambda one: one.cpu)[len(each) // 2] for name, each in took.items()}
    times = {
        name: statistics.median(other.cpu / ours.cpu for other, ours in zip(each, took[OURS], strict=True))
        for name, each in took.items()
    }
    over = 1 / times[FLOOR]
    ratios = {
        OURS: "",
        NOTEBOOKS: f"{times[NOTEBOOKS]:.1f} times ours; bar: {AT_LEAST}, {verdict(times[NOTEBOOKS] >= AT_LEAST)}",
        WITH_OPENCV: f"{times[WITH_OPENCV]:.1f} times ours",
        FLOOR: f"ours is {over:.2f} times it; bar: {AT_MOST}, {verdict(over <= AT_MOST)}",
    }
    table = Table("way", "CPU ms a slice", "ms a slice", "ratio", title_justify="left")
    for name, one in medians.items():
        table.add_row(name, f"{1000 * one.cpu / slices:.2f}", f"{1000 * one.wall / slices:.2f}", ratios[name])
    return table


def experiment(root: Path, workspace: str) -> Experiment:
    return validate({
        "workspace": str(root / workspace), "steps": ["sample", "preprocess"],
        "data": {"labels": str(root / "labels.csv"), "dicom": str(root / "dicom")},
        "sample": {"scope": "all", "per_label": 0, "negatives": 0},
        "preprocess": {"size": SIZE, "workers": 1},
    }, "benchmark")  # fmt: skip


def windowed(plain: Plain) -> NDArray[np.float64]:
    """As the notebooks prepare an image: everything in float64 and at full size until the resize."""
    dataset = pydicom.dcmread(plain.path)
    hu = dataset.pixel_array.astype(np.float64) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    return np.stack([apply_window(hu, *window) for window in WINDOWS], axis=-1)


def with_opencv(plain: Plain, to: Path) -> None:
    small = cv2.resize(windowed(plain), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(to / f"{plain.path.stem}.png"), cv2.cvtColor((small * 255).astype(np.uint8), cv2.COLOR_RGB2BGR))


def notebooks(plain: Plain, to: Path) -> None:
    rgb = windowed(plain)
    small = resize(rgb, (SIZE, SIZE), anti_aliasing=True)
    Image.fromarray((small * 255).astype(np.uint8)).save(to / f"{plain.path.stem}.png")


def floor(files: list[Plain], to: Path, hashes: dict[str, tuple[str, str]]) -> None:
    """The same PNG bytes and hashes with nothing besides."""
    table = look_up()
    for plain in files:
        with plain.path.open("rb", buffering=0) as file:
            content = file.read()
        stored = np.frombuffer(content, plain.dtype, 512 * 512, len(content) - 2 * 512 * 512).reshape(512, 512)
        limits = np.iinfo(stored.dtype)
        hu = np.clip(
            stored, max(LOWEST_HU - plain.intercept, limits.min), min(32767 - plain.intercept, limits.max)
        ).view(np.uint16)
        hu += np.uint16(plain.intercept % 2**16)
        levels = np.take(table, hu, mode="clip").view(np.uint8).reshape(512, 512, 4)
        small = cv2.resize(levels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        png = encode_png(np.asarray(cv2.cvtColor(small, cv2.COLOR_BGRA2BGR), np.uint8))
        hashes[plain.path.stem] = xxhash.xxh3_128_hexdigest(hu.data, seed=512), hashlib.sha256(png).hexdigest()
        (to / f"{plain.path.stem}.png").write_bytes(png)


def look_up() -> NDArray[np.uint32]:
    """Grey levels of every HU, a byte a window."""
    hu = np.arange(2**16, dtype=np.uint16).view(np.int16)
    levels = [np.floor(apply_window(hu, *window) * 255 + 0.5).astype(np.uint8) for window in WINDOWS]
    return np.ascontiguousarray(np.stack([*levels, np.zeros_like(levels[0])], axis=-1)).view(np.uint32).ravel()


def differences(workspace: Workspace, to: Path, hashes: dict[str, tuple[str, str]]) -> str:
    """What the floor gives otherwise than the step; nothing if it gives the same."""
    ledger = pl.read_parquet(workspace.slices).select("ImageID", "hu_hash", "png_sha256")
    others = sum(hashes[image_id] != (hu, png) for image_id, hu, png in ledger.iter_rows())
    others += sum((to / path.name).read_bytes() != path.read_bytes() for path in workspace.png.iterdir())
    return f"WRONG: {others} hashes or files of the floor differ" if others or len(ledger) != len(hashes) else ""


if __name__ == "__main__":
    main()
