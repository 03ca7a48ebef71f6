"""Evaluation without a workspace, by the command line."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from ich.calibration import RULES, Calibration, Calibrator, FittedOn, Threshold, write_calibration
from ich.cli import run_command
from ich.evaluation.leakage import ids_sha256
from ich.labels import LABELS, SUBTYPES

SLICES, PATIENTS = 60, 15


@pytest.fixture
def tables(tmp_path, quick_figures):
    """Writes labels and predictions of 60 slices, with or without their patients."""

    def write(**more):
        rng = np.random.default_rng(0)
        truth = rng.random((SLICES, 5)) < 0.25
        truth = np.column_stack([truth.any(axis=1), truth])
        probabilities = np.clip(0.2 + 0.4 * truth + rng.normal(size=truth.shape) * 0.2, 0, 1)
        ids = [f"ID_{number:04d}" for number in range(SLICES)]
        labels = pl.DataFrame({"ImageID": ids} | {label: truth[:, i].astype(int) for i, label in enumerate(LABELS)})
        labels.with_columns(**more).write_csv(tmp_path / "labels.csv")
        table = pl.DataFrame({"image_id": ids} | {label: probabilities[:, i] for i, label in enumerate(LABELS)})
        table.sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "predictions.csv")
        return truth, probabilities

    return write


def evaluate(tmp_path, *more, labels="labels.csv", output="report"):
    given = {"--predictions": "predictions.csv", "--labels": labels, "--output": output}
    words = [word for key, name in given.items() for word in (key, str(tmp_path / name))]
    return run_command(["evaluate", *words, *more])


def content(tmp_path):
    return json.loads((tmp_path / "report" / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_three_levels_where_patients_are_known(tmp_path, tables, capfd):
    patients = pl.Series([f"P{number % PATIENTS}" for number in range(SLICES)])
    truth, probabilities = tables(patient=patients)
    assert evaluate(tmp_path, "--bootstrap", "100", "--json") == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out)["results"][0]["label"] == "any"
    found = content(tmp_path)
    assert found["levels"] == ["slice", "patient"]  # no series is told
    assert found["prevalence"] is None  # every patient is positive
    figure = found["splits"]["test"]["levels"]["slice"]["figures"]["any"]["auroc"]
    assert figure["value"] == pytest.approx(roc_auc_score(truth[:, 0], probabilities[:, 0]))
    assert figure["low"] < figure["value"]
    assert found["splits"]["test"]["levels"]["patient"]["n"] == PATIENTS
    assert found["thresholds"]["slice"]["any"]["source"] == "a fixed 0.5, as there are no validation data"
    incoherent = (probabilities[:, 1:].max(axis=1) > probabilities[:, 0]).sum()
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"In {incoherent} rows P(any) is below a subtype" in page
    assert "They are scored as they are" not in page
    assert evaluate(tmp_path, "--bootstrap", "100") == 0  # over its own earlier report


def test_without_patients_there_are_no_intervals_and_the_report_says_so(tmp_path, tables):
    tables()
    assert evaluate(tmp_path) == 0
    found = content(tmp_path)
    assert (found["levels"], found["patients_known"]) == (["slice"], False)
    assert found["splits"]["test"]["levels"]["slice"]["figures"]["any"]["auroc"]["low"] is None
    assert found["splits"]["test"]["levels"]["slice"]["patients"] is None
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Patients are not known" in page
    assert "No intervals: patients are not known." in page
    texts = [page, *((tmp_path / "report" / f"metrics.{ending}").read_text() for ending in ("json", "csv"))]
    assert all("no interval: patients are not known" in text for text in texts)
    assert not any("asked for" in text for text in texts)


def test_a_threshold_of_the_config_is_told_as_what_it_is(tmp_path, tables, capfd):
    tables()
    assert evaluate(tmp_path, "--threshold", "0.3") == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "at 0.3 (the config)" in page
    assert "All six thresholds are 0.3, from the config." in page
    assert "Each label has its own threshold" not in page
    assert "threshold for number" not in page
    assert "sens., spec. and F1 at 0.3 (the config)" in capfd.readouterr().err


def test_three_readers_are_scored_by_study(tmp_path):
    findings = ["ICH", "EDH", "IPH", "IVH", "SAH", "SDH"]
    rng = np.random.default_rng(1)
    rows, slices = [], []
    for study in range(30):
        truth = (rng.random(5) < 0.3).astype(int)
        reads = [np.concatenate([[truth.max()], truth])] * 2 + [np.zeros(6, int)]
        rows.append([f"CQ500-CT-{study}", *np.concatenate(reads)])
        for number in range(3):
            p = np.clip(0.1 + 0.5 * truth * (number == 1) + 0.1 * rng.random(5), 0, 1)
            slices.append([f"/data/CQ500CT{study} CQ500CT{study}/CT Plain/CT{number:06d}.dcm", p.max(), *p])
    columns = ["name", *(f"R{reader}:{finding}" for reader in (1, 2, 3) for finding in findings)]
    pl.DataFrame(rows, columns, orient="row").write_csv(tmp_path / "reads.csv")
    pl.DataFrame(slices, ["file", *LABELS], orient="row").write_csv(tmp_path / "predictions.csv")
    assert evaluate(tmp_path, "--bootstrap", "50", labels="reads.csv") == 0
    found = content(tmp_path)
    assert found["levels"] == ["study"]
    assert found["splits"]["test"]["levels"]["study"]["n"] == 30
    assert found["agreement"]["any"]["pairs"]["R1-R2"]["cohen_kappa"] == 1
    page = (tmp_path / "report" / "report.html").read_text()
    assert "nothing is scored by slice" in page
    assert "Labels are of whole studies, from CQ500. Patients are not known: each study counts as a patient" in page
    assert not any(wrong in page for wrong in ("studys", "seriess", "slice_index"))
    assert "Fleiss' kappa" in page


def _rename_one(path):
    path.write_text(path.read_text().replace("ID_0007", "ID_other"))


def _leave_any_out(path):
    path.write_text(f"image_id,{','.join(SUBTYPES)}\nID_0001,0,0,0,0,0\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_rename_one, "1 of 60 labelled images have no"),
        (_leave_any_out, "lacks a column for any"),
        (Path.unlink, "does not exist"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(tmp_path, tables, capfd, damage, message):
    tables()
    damage(tmp_path / "predictions.csv")
    assert evaluate(tmp_path) == 1
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_nothing_but_an_earlier_report_is_written_over(tmp_path, tables, capfd):
    tables()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "mine.txt").write_text("kept")
    assert evaluate(tmp_path) == 1
    assert "holds something else than an earlier report" in capfd.readouterr().err
    assert evaluate(tmp_path, output="labels.csv") == 1
    assert "is a file; give a folder" in capfd.readouterr().err


def test_thresholds_come_from_a_calibration_file_but_not_of_the_slices_that_are_scored(tmp_path, tables, capfd):
    tables(patient=pl.Series([f"P{number % PATIENTS}" for number in range(SLICES)]))
    ids = [f"ID_{number:04d}" for number in range(SLICES)]
    points = {rule: {label: Threshold(value=0.37, source="validation (a)") for label in LABELS} for rule in RULES}
    calibration = Calibration(
        models=("0" * 64,), labels={label: Calibrator(method="none") for label in LABELS},
        fitted_on=FittedOn(split="val", slices=9, patients=3, image_ids_sha256=ids_sha256(["ID_other"])),
        operating_points=dict.fromkeys(("slice", "series", "patient"), points),
    )  # fmt: skip
    file = tmp_path / "calibration.json"
    write_calibration(file, calibration)
    assert evaluate(tmp_path, "--thresholds", str(file), "--bootstrap", "20") == 0
    found = content(tmp_path)
    assert found["thresholds"]["patient"]["any"] == {"value": 0.37, "source": "calibration.json: validation (a)"}
    assert found["operating_rules"] == list(RULES)
    same = calibration.fitted_on.model_copy(update={"image_ids_sha256": ids_sha256(ids)})
    write_calibration(file, calibration.model_copy(update={"fitted_on": same}))
    assert evaluate(tmp_path, "--thresholds", str(file)) == 1
    assert "were chosen on the slices that are scored" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "a.csv"], "give -c CONFIG, or else all of"),
        (["-c", "configs/demo.yaml", "--labels", "a.csv"], "are for evaluation without a config"),
        (["--predictions", "a", "--labels", "b", "--output", "c", "--name", "x"], "--name needs a config"),
        (["--predictions", "a", "--labels", "b", "--output", "c", "--threshold", "2"], "threshold"),
    ],
)
def test_wrong_command_lines(arguments, message, capfd):
    assert run_command(["evaluate", *arguments]) == 2
    assert message in capfd.readouterr().err


def test_one_class_only_and_ten_rows_give_stated_gaps(tmp_path, tables):
    patients = pl.Series([f"P{number}" for number in range(SLICES)])
    tables(patient=patients)
    labels = pl.read_csv(tmp_path / "labels.csv").head(10).with_columns(pl.lit(0).alias(label) for label in LABELS)
    labels.write_csv(tmp_path / "labels.csv")
    assert evaluate(tmp_path, "--bootstrap", "20") == 0
    figures = content(tmp_path)["splits"]["test"]["levels"]["slice"]["figures"]["any"]
    assert (figures["auroc"]["value"], figures["auroc"]["reason"]) == (None, "no positive slice")
    assert (figures["sensitivity"]["value"], figures["f1"]["value"]) == (None, None)
    assert figures["specificity"]["value"] is not None
