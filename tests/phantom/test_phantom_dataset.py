"""The whole step: layout, labels, quirks, reproducibility, and a run that is cut off."""

import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pydicom
import pytest

from ich.config import Experiment
from ich.config.read import validate
from ich.labels import LABELS, SUBTYPES, read_long_labels
from ich.phantom import dataset
from ich.phantom.dataset import phantom

PATIENTS = 32


def experiment(workspace: Path, **phantom_keys: object) -> Experiment:
    keys = {"patients": 3, "slices": [2, 3], "rows": 128, **phantom_keys}
    return validate({"workspace": str(workspace), "seed": 11, "steps": ["phantom"], "phantom": keys}, "test")


def contents(workspace: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(workspace.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    workspace = tmp_path_factory.mktemp("phantom")
    outcome = phantom(experiment(workspace, patients=PATIENTS, slices=[4, 5], masks=True))
    truth = pl.read_parquet(workspace / "phantom" / "truth.parquet")
    assert outcome.counts["slices"] == truth.height
    assert outcome.counts["patients"] == PATIENTS
    return workspace / "phantom", truth


def having(truth: pl.DataFrame, quirk: str) -> pl.DataFrame:
    return truth.filter(pl.col("quirks").list.contains(quirk))


def test_every_slice_has_a_file_but_the_missing_one(made: tuple[Path, pl.DataFrame]) -> None:
    folder, truth = made
    files = {path.stem for path in (folder / "stage_2_train").iterdir()}
    missing = having(truth, "missing")
    assert missing.height == 1
    assert files == set(truth["ImageID"]) - set(missing["ImageID"])


def test_ids_look_like_the_competition_s_and_are_unique(made: tuple[Path, pl.DataFrame]) -> None:
    _, truth = made
    for column, digits in (("ImageID", 9), ("patient", 8), ("study", 10), ("series", 10)):
        assert all(re.fullmatch(rf"ID_[0-9a-f]{{{digits}}}", value) for value in truth[column])
    assert truth["ImageID"].n_unique() == truth.height
    assert truth["patient"].n_unique() == truth["series"].n_unique() == PATIENTS


def test_label_csv_is_in_the_competition_s_order_with_repeated_rows(made: tuple[Path, pl.DataFrame]) -> None:
    folder, truth = made
    lines = (folder / "stage_2_train.csv").read_text().splitlines()
    assert lines[0] == "ID,Label"
    assert [line.split("_")[2].split(",")[0] for line in lines[1:7]] == [*SUBTYPES, "any"]
    table, repeated = read_long_labels(folder / "stage_2_train.csv")
    assert repeated == 12
    labelled = truth.filter(~pl.col("quirks").list.contains("unlabelled")).sort("ImageID")
    assert truth.height - labelled.height == 1
    assert table.select("ImageID", *LABELS).rows() == labelled.select("ImageID", *LABELS).rows()


def test_any_is_the_or_of_the_subtypes_and_masks_agree(made: tuple[Path, pl.DataFrame]) -> None:
    folder, truth = made
    assert truth["any"].sum() > 5
    assert (truth["any"] == truth.select(pl.max_horizontal(SUBTYPES)).to_series()).all()
    for row in truth.iter_rows(named=True):
        path = folder / "masks" / f"{row['ImageID']}.png"
        assert path.exists() == row["any"]
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if row["any"] else np.zeros((128, 128))
        present = {SUBTYPES[code - 1] for code in np.unique(mask) if code}
        if not {"not_square", "twin"} & set(row["quirks"]):
            assert present == {label for label in SUBTYPES if row[label]}
            assert all(np.count_nonzero(mask == SUBTYPES.index(k) + 1) == row[f"{k}_pixels"] for k in SUBTYPES)


def test_each_quirk_is_in_the_files_that_truth_names(made: tuple[Path, pl.DataFrame]) -> None:
    folder, truth = made

    def read(quirk: str) -> pydicom.FileDataset:
        return pydicom.dcmread(folder / "stage_2_train" / f"{having(truth, quirk)['ImageID'][0]}.dcm")

    assert having(truth, "truncated").height == 1
    assert len(read("truncated").PixelData) < 128 * 128
    assert read("implicit_vr").file_meta.TransferSyntaxUID.is_implicit_VR
    assert read("monochrome1").PhotometricInterpretation == "MONOCHROME1"
    assert read("not_square").Rows != 128 or read("not_square").Columns != 128
    assert len(read("double_window").WindowCenter) == 2
    blank = read("blank")
    assert np.ptp(blank.pixel_array[50:80, 50:80]) < 40


def test_repeated_position_and_identical_pixels(made: tuple[Path, pl.DataFrame]) -> None:
    folder, truth = made
    series = having(truth, "same_position")["series"][0]
    steps = truth.filter(pl.col("series") == series).sort("slice")["position_mm"].diff().drop_nulls()
    assert (steps == 0).sum() == 1
    pixels = {path.stem: pydicom.dcmread(path).PixelData for path in (folder / "stage_2_train").iterdir()}
    twin = having(truth, "twin")["ImageID"].item()
    twins = [name for name, data in pixels.items() if data == pixels[twin]]
    assert len(twins) == 2
    assert truth.filter(pl.col("ImageID").is_in(twins))["patient"].n_unique() == 2


def test_air_is_near_minus_1000_after_the_repair_that_truth_names(made: tuple[Path, pl.DataFrame]) -> None:
    folder, truth = made
    for row in truth.filter(pl.col("slice") == 3).iter_rows(named=True):
        if {"truncated", "missing", "not_square"} & set(row["quirks"]):
            continue
        data = pydicom.dcmread(folder / "stage_2_train" / f"{row['ImageID']}.dcm")
        stored, intercept = data.pixel_array.astype(int), int(data.RescaleIntercept)
        if row["repair"] == "unwrap":
            stored, intercept = stored + 1000, -1000
            stored[stored >= 4096] -= 4096
        hu = stored + intercept
        assert abs(np.median(hu[4:8, hu.shape[1] // 2 - 8 : hu.shape[1] // 2 + 8]) + 1000) < 25


def test_same_bytes_for_any_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    phantom(experiment(tmp_path / "two"))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    phantom(experiment(tmp_path / "one"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_killed_run_leaves_no_table_and_the_next_one_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(dataset, "PATIENTS_AT_ONCE", 1)
    phantom(experiment(tmp_path / "whole"))
    made: list[int] = []
    make = dataset._make

    def make_then_die(config: Experiment, number: int, single: dict) -> list[dict]:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(number)
        return make(config, number, single)

    monkeypatch.setattr(dataset, "_make", make_then_die)
    with pytest.raises(KeyboardInterrupt):
        phantom(experiment(tmp_path / "cut"))
    assert not list(tmp_path.glob("cut/phantom/*.*"))
    made.clear()
    phantom(experiment(tmp_path / "cut"))
    assert made == [2]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    file = max(tmp_path.glob("cut/phantom/stage_2_train/*.dcm"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    phantom(experiment(tmp_path / "cut"))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_another_config_replaces_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    phantom(experiment(tmp_path))
    phantom(experiment(tmp_path, patients=1, slices=[1, 1], quirks=False, headers="clinical"))
    names = [path.name for path in (tmp_path / "phantom").rglob("*.dcm")]
    assert len(names) == 1
    truth = pl.read_parquet(tmp_path / "phantom" / "truth.parquet")
    assert truth["quirks"].to_list() == [[]]
    assert truth["repair"].item() == "none"


def test_a_folder_that_is_gone_is_filled_again(tmp_path):
    phantom(experiment(tmp_path))
    before = contents(tmp_path / "phantom")
    shutil.rmtree(tmp_path / "phantom")
    phantom(experiment(tmp_path))
    assert contents(tmp_path / "phantom") == before
