"""The demo's config, smaller: from phantom DICOM files to a report and to predictions of the same files."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from ich.cli import run_command
from ich.labels import LABELS
from square_slices import tiny_backbones

__all__ = ["tiny_backbones"]

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
SMALLER = {
    "phantom.patients": "36", "phantom.slices": "[8, 10]", "phantom.rows": "128", "preprocess.size": "64",
    "split.fractions": "[0.5, 0.2, 0.3]", "augment.target": "30", "evaluate.bootstrap": "100",
    "train.phases": "[{name: learn, epochs: 1, learning_rate: 1.0e-3, trainable: all}]",
    "train.gate.max_missed": "0.3",
    "index.hash": "true",  # a phantom slice is repeated under another patient: both belong into one split
}  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("end_to_end") / "workspace"
    assert run_command(command(root)) == 3  # some phantom files are damaged
    return root


def command(root):
    overrides = [text for key, value in SMALLER.items() for text in (f"--{key}", value)]
    return ["run", "-c", str(DEMO), "--workspace", str(root), *overrides]


def test_every_step_left_its_files_and_every_slice_is_accounted_for(workspace):
    truth = pl.read_parquet(workspace / "phantom" / "truth.parquet")
    index = pl.read_parquet(workspace / "index.parquet")
    assert set(index["ImageID"]) == set(truth["ImageID"])
    sampled = pl.read_csv(workspace / "data_sampled.csv")
    ledger = pl.read_parquet(workspace / "slices.parquet")
    assert ledger["ImageID"].to_list() == sampled["ImageID"].to_list()
    usable = set(ledger.filter(pl.col("status").is_in(["ok", "repaired"]))["ImageID"])
    tables = [pl.read_csv(workspace / f"data_{split}.csv")["ImageID"] for split in ("train", "val", "test")]
    augmented = {name for name in tables[0] if "_aug_" in name}
    assert set().union(*tables) - augmented == usable
    assert sum(map(len, tables)) - len(augmented) == len(usable)
    assert {path.stem for path in (workspace / "raw_png").iterdir()} == usable
    assert {path.stem for path in (workspace / "data_train").iterdir()} == set(tables[0])
    patients = [set(index.filter(pl.col("ImageID").is_in(table.implode()))["patient"]) for table in tables]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]


def test_the_report_holds_figures_and_pictures(workspace):
    report = workspace / "runs" / "demo" / "report"
    content = json.loads((report / "metrics.json").read_text())
    test = content["splits"]["test"]["levels"]["slice"]
    assert test["n"] == len(pl.read_csv(workspace / "data_test.csv"))
    for label in LABELS:
        assert 0 <= test["figures"][label]["auroc"]["value"] <= 1
        assert cv2.imread(str(report / f"cm_{label}.png")) is not None
    assert content["baseline"]["slices"] == test["n"]
    assert (report / "report.html").stat().st_size > 100_000
    history = pl.read_csv(workspace / "runs" / "demo" / "history.csv")
    assert history["stage"].to_list() == ["gate", "subtypes"]


def test_the_second_run_repeats_nothing_but_what_was_incomplete(workspace, capfd):
    model = (workspace / "models" / "cascade_final.keras").stat().st_mtime_ns
    assert run_command(command(workspace)) == 3
    lines = capfd.readouterr().err.splitlines()
    done = {line.split(":")[0] for line in lines if line.endswith(": up to date")}
    assert {"phantom", "split", "sample", "datacard", "train", "evaluate"} <= done
    assert (workspace / "models" / "cascade_final.keras").stat().st_mtime_ns == model


def test_a_moved_workspace_is_not_trained_again(workspace, tmp_path, capfd):
    moved = tmp_path / "moved"
    shutil.copytree(workspace, moved, symlinks=True)
    for link in (moved / "raw_dicom").iterdir():  # to the phantom's files, by their whole paths
        link.unlink()
    assert run_command(command(moved)) == 3
    assert "is of this very training" in capfd.readouterr().err
    models = [(root / "models" / "cascade_final.keras").read_bytes() for root in (workspace, moved)]
    assert models[0] == models[1]


def test_prediction_of_the_dicom_files_is_what_was_evaluated(workspace, tmp_path, capfd):
    """Another way to the same numbers: from DICOM, in other batches, through the command."""
    table, source = tmp_path / "probabilities.csv", workspace / "phantom" / "stage_2_train"
    model = str(workspace / "models" / "cascade_final.keras")
    assert run_command(["predict", str(source), "--model", model, "--output", str(table)]) == 3  # truncated files
    assert "pixel bytes" in capfd.readouterr().out
    found = pl.read_csv(table).with_columns(ImageID=pl.col("file").str.extract(r"(ID_\w+)\.dcm$"))
    evaluated = pl.read_parquet(workspace / "runs" / "demo" / "predictions.parquet")
    both = evaluated.join(found, on="ImageID", how="left", maintain_order="left")
    for label in LABELS:
        np.testing.assert_allclose(both[label], both[f"calibrated_{label}"], atol=1e-5)
    assert (both["gated_in"] == both["gated_in_right"]).all()


def test_models_are_compared_on_one_split(workspace, tiny_backbones, capsys):
    train = ["train", *command(workspace)[1:], "--compare", "efficientnet", "convnext", "--json"]
    assert run_command(train) == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["test_slices"] == len(pl.read_csv(workspace / "data_test.csv"))
    first, second = compared["candidates"]
    assert first["differences"] == {}
    for row in (first, second):
        report = json.loads((workspace / "runs" / row["run"] / "report" / "metrics.json").read_text())
        figures = report["splits"]["test"]["levels"]["slice"]["figures"]
        assert row["figures"]["any AUROC"] == figures["any"]["auroc"]
        assert row["figures"]["weighted log loss"] == figures["all labels"]["weighted_log_loss"]
        assert row["seconds"] > 0
        assert row["parameters"] > 0
        assert [stage["stage"] for stage in row["stages"]] == [row["model"]]
        assert (workspace / "models" / row["run"] / f"{row['model']}_final.keras").is_file()
    for name, figure in second["differences"].items():
        assert figure["value"] == pytest.approx(second["figures"][name]["value"] - first["figures"][name]["value"])
        assert figure["reason"] or figure["low"] < figure["value"] < figure["high"]
    table = (workspace / "runs" / "demo-comparison.md").read_text()
    assert "| efficientnet |" in table
    assert "say nothing about patients" in table
    assert run_command([*train[:-2], "--json"]) == 2  # one model cannot be compared
