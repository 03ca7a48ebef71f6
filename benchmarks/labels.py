"""Reading and sampling the competition's label CSV at its real size, beside the notebooks' way with pandas.

    python -m benchmarks.labels [--repeat N]

The CSV is made up: the published file's numbers of images, repeated rows and positives of each label, and its order of
labels; which subtypes meet in an image is random. Each run is a process of its own, so that its peak memory is, too.
Times are the fastest run's, without the imports; memory is the largest of the runs, with them. Ends with exit code 1 if
the two ways do not agree.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.competition import POSITIVES, SLICES
from benchmarks.measure import machine, peak_gb, verdict
from ich.files import fingerprint
from ich.labels import IMAGE_ID, LABELS, SUBTYPES, counts, read_long_labels, read_table
from ich.prepare.sample import draw

REPEATED = 4  # images that stand twice in the published file, 24 rows; their labels are 0
PER_LABEL, SEED = 10_000, 42  # configs/reference.yaml

READ, DRAW = "read_long_labels", "draw"
BARS = {READ: (3.0, 2.0), DRAW: (1.0, 2.0)}  # at most so many s (wall) and GB, on two cores


@dataclass(frozen=True)
class Measured:
    """One step in one process: wall and CPU seconds, and the peak of the process's memory until its end, in GB."""

    step: str
    wall: float
    cpu: float
    peak: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_label_csv(folder / "labels.csv", np.random.default_rng(2019))
        runs = [in_a_process(way, folder) for _ in range(repeat) for way in (ours, notebooks)]
        wrong = differences(folder)
    table = Table(
        *("what", "wall s", "CPU s", "peak GB", "bar"),
        title=f"{rows:,} label rows, {os.cpu_count()} cores of {machine()}",
        title_justify="left",
    )
    for line in summary([step for run in runs for step in run]):
        table.add_row(*line)
    Console().print(table)
    print("both ways give the same table and draw the same images" if not wrong else f"WRONG: {', '.join(wrong)}")
    sys.exit(1 if wrong else 0)


def write_label_csv(path: Path, rng: np.random.Generator) -> int:
    """Write a made-up CSV with the published numbers; its number of rows."""
    drawn = np.unique(rng.integers(0, 16**9, SLICES + 1000))
    ids = np.array([f"ID_{number:09x}" for number in rng.permutation(drawn)[:SLICES].tolist()])
    labels = random_labels(rng)
    negatives = np.flatnonzero(labels[:, -1] == 0)
    order = np.insert(
        np.arange(SLICES), rng.integers(0, SLICES, REPEATED), rng.choice(negatives, REPEATED, replace=False)
    )
    names = (*SUBTYPES, "any")
    images = pl.DataFrame({"image": ids[order]}).with_columns(
        pl.concat_list(pl.format("{}_{}", "image", pl.lit(name)) for name in names).alias("ID"),
        pl.Series("Label", labels[order]).arr.to_list(),
    )
    long = images.select("ID", "Label").explode("ID", "Label")
    long.write_csv(path)
    return len(long)


def random_labels(rng: np.random.Generator) -> np.ndarray:
    """The five subtypes and their OR, (SLICES, 6) uint8, with exactly POSITIVES of each.

    Each positive image is dealt one subtype; what is left of a subtype goes to other positive images.
    """
    labels = np.zeros((SLICES, len(LABELS)), np.uint8)
    positive = rng.permutation(SLICES)[: POSITIVES["any"]]
    labels[positive, -1] = 1
    dealt = rng.permutation(np.repeat(np.arange(len(SUBTYPES)), [POSITIVES[name] for name in SUBTYPES]))
    first = dealt[: len(positive)]
    labels[positive, first] = 1
    for column, name in enumerate(SUBTYPES):
        left = POSITIVES[name] - np.count_nonzero(first == column)
        labels[rng.choice(positive[first != column], left, replace=False), column] = 1
    return labels


def in_a_process(way: Callable[[Path], list[Measured]], folder: Path) -> list[Measured]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(way, folder).result()


def ours(folder: Path) -> list[Measured]:
    """As step 1 does it; then what else reads tables of this size."""
    csv, wide = folder / "labels.csv", folder / "wide.csv"
    (table, repeated), read = measured(READ, lambda: read_long_labels(csv))
    drawn, draw_ = measured(DRAW, lambda: draw(table, PER_LABEL, PER_LABEL, SEED))
    table.write_csv(wide)
    again, wide_ = measured("read_table, of all images", lambda: read_table(wide))
    _, hashed = measured("fingerprint of the CSV", lambda: fingerprint(csv))
    if repeated != len(LABELS) * REPEATED or counts(table) != POSITIVES or not again.equals(table):
        raise SystemExit(f"read wrongly: {repeated} repeated rows, {counts(table)}")
    keep(folder, "ours", table, drawn[IMAGE_ID])
    return [read, draw_, wide_, hashed]


def notebooks(folder: Path) -> list[Measured]:
    """The notebooks' steps in pandas, which check nothing."""
    import pandas as pd

    def read() -> pd.DataFrame:
        long = pd.read_csv(folder / "labels.csv").drop_duplicates()
        long[[IMAGE_ID, "label"]] = long["ID"].str.rsplit("_", n=1, expand=True)
        return long.pivot(index=IMAGE_ID, columns="label", values="Label").reset_index()

    def sample(wide: pd.DataFrame) -> set[str]:
        groups = [*(wide[wide[label] == 1] for label in LABELS), wide[wide["any"] == 0]]
        drawn = (group.sample(min(PER_LABEL, len(group)), random_state=SEED) for group in groups)
        return {image for rows in drawn for image in rows[IMAGE_ID]}

    wide, read_ = measured("pandas: read, split, pivot", read)
    drawn, sample_ = measured("pandas: sample of each label", lambda: sample(wide))
    table = pl.DataFrame({name: wide[name].to_list() for name in (IMAGE_ID, *LABELS)})
    keep(folder, "notebooks", table.cast(dict.fromkeys(LABELS, pl.UInt8)), pl.Series(IMAGE_ID, sorted(drawn)))
    return [read_, sample_]


def measured(step: str, job: Callable[[], Any]) -> tuple[Any, Measured]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = job()
    return result, Measured(step, time.perf_counter() - wall, time.process_time() - cpu, peak_gb())


def keep(folder: Path, way: str, table: pl.DataFrame, drawn: pl.Series) -> None:
    table.write_parquet(folder / f"{way}_table.parquet")
    drawn.to_frame().write_parquet(folder / f"{way}_drawn.parquet")


def differences(folder: Path) -> list[str]:
    """Which of table and draw is not the same in both ways."""
    return [
        f"the {what} differs"
        for what in ("table", "drawn")
        if not pl.read_parquet(folder / f"ours_{what}.parquet").equals(
            pl.read_parquet(folder / f"notebooks_{what}.parquet")
        )
    ]


def summary(runs: list[Measured]) -> list[tuple[str, ...]]:
    """A line for each step, with its bar."""
    lines = []
    for step in dict.fromkeys(run.step for run in runs):
        same = [run for run in runs if run.step == step]
        wall, cpu, peak = min(run.wall for run in same), min(run.cpu for run in same), max(run.peak for run in same)
        bar = ""
        if step in BARS:
            seconds, gigabytes = BARS[step]
            reached = wall <= seconds and peak <= gigabytes
            bar = f"{seconds:g} s, {gigabytes:g} GB: {verdict(reached)}"
        lines.append((step, f"{wall:.2f}", f"{cpu:.2f}", f"{peak:.2f}", bar))
    return lines


if __name__ == "__main__":
    main()
