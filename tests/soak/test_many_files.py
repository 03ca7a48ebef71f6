"""A folder with 100,000 files takes about the memory of one with 1,000."""

import os
from pathlib import Path

import polars as pl
import pytest
from runs import Peaks, start

from ich.config import Experiment
from ich.labels import LABELS
from ich.phantom.dataset import phantom

MB = 10**6


def many(folder: Path, files: list[Path], count: int) -> Path:
    """A data set of `count` slices, all of them names of a few files."""
    source = folder / "dicom"
    source.mkdir(parents=True)
    ids = [f"ID_{number:09x}" for number in range(count)]
    for number, image_id in enumerate(ids):
        os.link(files[number % len(files)], source / f"{image_id}.dcm")
    (folder / "labels.csv").write_text(
        "ID,Label\n" + "".join(f"{each}_{label},0\n" for each in ids for label in LABELS)
    )
    config = folder / "config.yaml"
    config.write_text(
        "workspace: w\nsteps: [index, sample, copy, preprocess]\nsample: {scope: all, negatives: 0}\n"
        "data: {labels: labels.csv, dicom: dicom}\npreprocess: {size: 32, workers: 2}\n"
    )
    return config


def prepare(folder: Path, files: list[Path], count: int) -> tuple[dict[str, Peaks], dict[str, float]]:
    """Peaks and seconds of each command."""
    config, peaks, seconds = many(folder, files, count), {}, {}
    for step in ("index", "sample", "preprocess"):
        command = start([step, "-c", str(config)], folder)
        code, said, seconds[step] = command.wait_and_watch(1800)
        assert code == 0, said
        peaks[step] = command.peaks
    assert pl.read_parquet(folder / "w" / "slices.parquet")["status"].value_counts().rows() == [("ok", count)]
    assert sum(1 for _ in (folder / "w" / "raw_png").iterdir()) == count
    return peaks, seconds


@pytest.mark.soak
def test_100_000_files_take_the_memory_of_1_000(tmp_path):
    phantom(Experiment(
        workspace=tmp_path, steps=["phantom"], phantom={"patients": 1, "slices": [8, 8], "rows": 128, "quirks": False},
        preprocess={"workers": 1},
    ))  # fmt: skip
    files = sorted((tmp_path / "phantom" / "stage_2_train").iterdir())
    few, _ = prepare(tmp_path / "few", files, 1_000)
    lots, seconds = prepare(tmp_path / "many", files, 100_000)
    for step in ("index", "preprocess"):
        print(f"{step}: 1,000 files {few[step]}, 100,000 files {lots[step]}, {seconds[step]:.0f} s")
        assert max(lots[step].main, lots[step].worker) < 400 * MB
        assert lots[step].main < few[step].main + 200 * MB  # the list of files, and the ledger's rows
        assert lots[step].worker < few[step].worker + 50 * MB
