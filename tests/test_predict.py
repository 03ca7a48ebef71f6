import json
import os
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ich.predict
from conftest import make_slice
from ich.calibration import Calibration, Calibrator, FittedOn, write_calibration
from ich.cli import run_command
from ich.detector import Predictions
from ich.errors import DataError
from ich.labels import LABELS
from ich.png import read_pngs
from ich.predict import predict
from ich.prepare.preprocess import preprocess
from ich.prepare.sample import sample
from ich.workspace import Workspace

WINDOWS = ((75, 215), (40, 80), (600, 2800))


class MeanBrightness:
    """Stands in for a trained detector: every probability is the mean grey level of the image."""

    class card:
        windows, size, aspect, input, model, file_sha256 = WINDOWS, 64, "pad", "windows", "cascade", "0123"

    def __init__(self, models=(None,)):
        self.members = [self] * len(models)

    def predict(self, images):
        level = images.mean(axis=(1, 2, 3), dtype=np.float64) / 255
        return Predictions(np.repeat(level[:, None], 6, axis=1).astype(np.float32), level > 0.3, level > 1)


@pytest.fixture(autouse=True)
def detector(monkeypatch):
    monkeypatch.setattr(ich.predict, "load_models", MeanBrightness)


def even(stored_value):
    """One value but for a corner of air: a slice of one value throughout is not an image."""
    image = np.full((64, 64), stored_value, np.int16)
    image[0, 0] = 0
    return image


@pytest.fixture
def study(tmp_path):
    """Two series whose file names run against their positions; grey level rises with the position."""
    for number in range(6):
        make_slice(
            tmp_path / "study" / f"ID_{9 - number}.dcm", even(1024 + 10 * number),
            SeriesInstanceUID=f"series {number % 2}", ImagePositionPatient=[0, 0, 5.0 * number],
        )  # fmt: skip
    return tmp_path / "study"


def test_slices_come_series_by_series_in_order_along_the_normal(study):
    result = predict([study], [study / "model.keras"])
    found = [(row["series"], row["position_mm"], row["slice_index"]) for row in result.rows]
    assert found == [
        ("series 1", 5, 0), ("series 1", 15, 1), ("series 1", 25, 2),
        ("series 0", 0, 0), ("series 0", 10, 1), ("series 0", 20, 2),
    ]  # fmt: skip
    for _, rows in result.by_series():
        assert np.all(np.diff([row["any"] for row in rows]) > 0)
        assert {row["slice_spacing_mm"] for row in rows} == {10}


def write_shift(path, models=("0123",)):
    """A calibration that makes the odds of any three times as high, and leaves the subtypes' shares."""
    of_label = dict.fromkeys(LABELS, Calibrator(method="none"))
    of_label["any"] = Calibrator(method="prior_shift", shift=float(np.log(3)), n=2_000, positives=284)
    fitted_on = FittedOn(split="val", slices=2_000, patients=50, image_ids_sha256="0")
    write_calibration(path, Calibration(models=models, fitted_on=fitted_on, labels=of_label))


def probabilities_of_any(arguments, capfd):
    assert run_command(["predict", *arguments, "--json"]) == 0
    content = json.loads(capfd.readouterr().out)
    return np.array([row["any"] for row in content["slices"]]), content["calibration"]


def test_the_calibration_beside_the_model_is_used(study, tmp_path, capfd):
    model, beside = tmp_path / "model.keras", tmp_path / "model_calibration.json"
    arguments = [str(study), "--model", str(model)]
    raw, about = probabilities_of_any(arguments, capfd)
    reason = "no model_calibration.json beside the model; `ich evaluate` writes it"
    assert about == {"applied": False, "reason": reason}
    write_shift(beside)
    calibrated, about = probabilities_of_any(arguments, capfd)
    assert calibrated == pytest.approx(3 * raw / (1 + 2 * raw), rel=1e-6)
    assert (about["applied"], about["file"], about["prevalence_of_any"]) == (True, str(beside), 0.142)
    assert about["methods"]["any"] == "prior_shift"
    for result in (predict([study], [model]), predict([study], [model], beside)):
        assert [row["any"] for row in result.rows] == calibrated.tolist()
        assert [row["gated_in"] for row in result.rows] == (raw > 0.3).tolist()  # the gate sees what it always saw
    off, about = probabilities_of_any([*arguments, "--calibration", "none"], capfd)
    assert np.array_equal(off, raw)
    assert about == {"applied": False, "reason": "--calibration none"}


def test_people_are_told_whether_probabilities_are_calibrated(study, tmp_path, capfd):
    arguments = ["predict", str(study), "--model", str(tmp_path / "model.keras")]
    told = {}
    for name in ("without", "with"):
        if name == "with":
            write_shift(tmp_path / "model_calibration.json")
        assert run_command(arguments) == 0
        told[name] = " ".join(capfd.readouterr().out.split())
    assert "not calibrated: no model_calibration.json beside the model; `ich evaluate` writes it" in told["without"]
    file = tmp_path / "model_calibration.json"
    assert f" calibrated on 2,000 validation slices of 50 patients, 14.2% positive: {file} EDH" in told["with"]


def test_a_mean_takes_the_calibration_of_exactly_these_models(study, tmp_path, capfd):
    pair = [tmp_path / "a.keras", tmp_path / "b.keras"]
    write_shift(tmp_path / "a_calibration.json")  # that of one alone is not taken
    raw = predict([study], pair)
    assert "the mean of several models needs --calibration FILE" in raw.calibration["reason"]
    file = tmp_path / "calibration.json"
    write_shift(file, models=("0123", "0123"))
    arguments = [str(study), "--model", str(pair[0]), "--model", str(pair[1]), "--calibration"]
    calibrated, _ = probabilities_of_any([*arguments, str(file)], capfd)
    assert np.all(calibrated > [row["any"] for row in raw.rows])
    for wrong, message in ((tmp_path / "a_calibration.json", "not of the mean of"), (tmp_path / "x", "does not exist")):
        assert run_command(["predict", *arguments, str(wrong)]) == 1
        error = capfd.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_what_cannot_be_read_is_told_and_the_rest_is_predicted(study, capfd):
    (study / "ID_9.dcm").write_text("not dicom")
    (study / "notes.txt").write_text("ignored: not a DICOM name")
    code = run_command(["predict", str(study), "--model", "model.keras", "--json", "--output", str(study / "out.csv")])
    content = json.loads(capfd.readouterr().out)
    assert code == 3
    assert [item["reason"] for item in content["unreadable"]] == ["not a DICOM file: no DICM prefix"]
    assert len(content["slices"]) == 5
    assert all(0 <= row[label] <= 1 for row in content["slices"] for label in LABELS)
    assert len(pl.read_csv(study / "out.csv")) == 5


def test_table_for_people(study, capfd):
    assert run_command(["predict", str(study / "ID_9.dcm"), "--model", "model.keras"]) == 0
    text = capfd.readouterr().out
    assert "Research use only" in text
    assert re.search(r"ID_9.dcm +0.0( +0.146){6}", text)  # (0 HU: 39, 0 and 73 of 255 on average)
    assert "intraventricular, SAH subarachnoid,\nSDH subdural\n" in text  # no abbreviation without its meaning
    assert max(map(len, text.splitlines())) <= 80


def test_with_a_table_written_the_terminal_shows_a_line_a_series(study, tmp_path, capfd):
    command = ["predict", str(study), "--model", "model.keras", "--output", str(tmp_path / "out.csv")]
    assert run_command(command) == 0
    text = capfd.readouterr().out
    assert re.search(r"series 0 +3( +0\.\d{3}){6}", text)
    assert "ID_9.dcm" not in text
    assert f"6 slices: {tmp_path / 'out.csv'}" in text.replace("\n", "")
    assert run_command(command) == 0  # over its own table


def test_nothing_but_an_earlier_table_is_written_over(study, tmp_path, capfd):
    (study / "in.csv").write_text("ID,Label\nID_a_any,0\n")
    (study / "model.keras").write_text("a model")
    (tmp_path / "link.csv").symlink_to(tmp_path / "linked.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    outputs = {
        study / "ID_9.dcm": "exists", study / "in.csv": "exists", study / "model.keras": "exists",
        study: "is a folder", study / "ID_9.dcm" / "out.csv": "is not a folder", tmp_path / "pipe.csv": "exists",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in study.iterdir()}
    for output, message in outputs.items():
        command = ["predict", str(study), "--model", str(study / "model.keras"), "--output", str(output)]
        assert run_command(command) == 1
        error = capfd.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in study.iterdir()} == before
    command = ["predict", str(study), "--model", "model.keras", "--output", str(tmp_path / "link.csv")]
    assert run_command(command) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(pl.read_csv(tmp_path / "linked.csv")) == 6


def test_files_of_any_name_and_linked_folders_are_found_and_broken_links_are_told(study, tmp_path):
    (study / "ID_9.dcm").rename(study / "1.2.840.113619.2.5.1762583153")
    (study / "ID_8.dcm").rename(study / "scan.ima")
    (study / "lost.dcm").symlink_to(tmp_path / "nowhere.dcm")
    (study / "deep").mkdir()
    (study / "deep" / "again").symlink_to(study)  # a circle
    os.mkfifo(study / "pipe.dcm")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(study)
    for root in (study, tmp_path / "root"):
        result = predict([root], [tmp_path / "model.keras"])
        assert len(result.rows) == 6
        reasons = {Path(path).name: reason for path, reason in result.unreadable}
        assert reasons == {"lost.dcm": "cannot be read: No such file or directory", "pipe.dcm": "not a regular file"}


def test_what_is_odd_about_a_series_is_told(study, capfd):
    make_slice(
        study / "ID_3.dcm", even(1024), SeriesInstanceUID="series 1",
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )  # fmt: skip
    code = run_command(["predict", str(study), "--model", "model.keras"])
    scout = "slices in another orientation (localizers?): 1, put last"
    assert code == 0
    assert [line for line in capfd.readouterr().out.splitlines() if "slices in" in line] == [f"  {scout}"]
    result = predict([study], [study / "model.keras"])
    assert result.as_json()["series"] == [
        {"series": "series 1", "slices": 4, "slice_spacing_mm": 10, "tilt_degrees": 0, "oddities": [scout]},
        {"series": "series 0", "slices": 3, "slice_spacing_mm": 10, "tilt_degrees": 0, "oddities": []},
    ]
    assert [name for name, _ in result.by_series()] == ["series 1", "series 0"]
    assert [row["position_mm"] for row in result.rows[:4]] == [5, 15, 25, None]


@pytest.mark.parametrize("with_table", [True, False])
def test_the_tilt_of_many_series_is_one_line_and_what_was_not_read_comes_last(tmp_path, capfd, with_table):
    for number in range(10):
        angle = np.radians(5 + number // 2)
        make_slice(
            tmp_path / "in" / f"ID_{number}.dcm", even(1024), SeriesInstanceUID=f"series {number // 2}",
            ImageOrientationPatient=[1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))],
            ImagePositionPatient=[0, 0, 5.0 * (number % 2) if number < 8 else 0.0],
        )  # fmt: skip
    output = ["--output", str(tmp_path / "out.csv")] if with_table else []

    def odd_lines():
        run_command(["predict", str(tmp_path / "in"), "--model", "model.keras", *output])
        lines = capfd.readouterr().out.splitlines()
        return lines, [line.split(": ", 1)[1] if with_table else line.strip() for line in lines if "degrees" in line]

    lines, tilts = odd_lines()
    assert tilts == ["5 of 5 series, 5.0 to 9.0 degrees from axial" if with_table else
                     "tilt: 5 of 5 series, 5.0 to 9.0 degrees from axial"]  # fmt: skip
    assert len([line for line in lines if "slices at the place of the one before: 1" in line]) == 1
    for number in range(4):
        (tmp_path / "in" / f"ID_{number}.dcm").write_text("not dicom")
    lines, tilts = odd_lines()
    assert tilts == [f"tilt: {degrees}.0 degrees from axial" for degrees in (7, 8, 9)]
    assert all(line.startswith("not read: ") for line in lines[-4:])
    assert "Research use only" in lines[-5]


@pytest.mark.parametrize("readable", [True, False])
def test_file_names_that_are_not_utf8(study, tmp_path, capfd, monkeypatch, readable):
    monkeypatch.setenv("COLUMNS", "200")  # wide enough for the name in one piece
    odd = os.fsdecode(os.fsencode(study) + b"/ID_\xe9.dcm")
    try:
        (study / "ID_9.dcm").rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    if not readable:
        Path(odd).write_text("not dicom")
    arguments = ["predict", str(study), "--model", "model.keras"]
    json_too = [*arguments, "--output", str(tmp_path / "out.csv"), "--json"]
    assert run_command(arguments) == run_command(json_too) == (0 if readable else 3)
    shown = f"{study}/ID_\\xe9.dcm"
    table, _, content = capfd.readouterr().out.partition("{")
    content = json.loads("{" + content)
    assert "ID_\\xe9.dcm" in table
    assert shown in [row["file"] for row in content["slices" if readable else "unreadable"]]
    assert (shown in pl.read_csv(tmp_path / "out.csv")["file"]) == readable


def test_input_that_gives_nothing(study, tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        predict([tmp_path / "nowhere"], [tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no DICOM files"):
        predict([tmp_path / "empty"], [tmp_path])
    (tmp_path / "empty" / "a.dcm").write_text("x" * 200)
    with pytest.raises(DataError, match="no readable CT slice among 1 files"):
        predict([tmp_path / "empty"], [tmp_path])


def test_prediction_sees_the_bytes_that_training_sees(experiment, small_dataset, tmp_path, monkeypatch):
    config = experiment(sample={"scope": "all"}, steps=["sample", "preprocess"])
    sample(config)
    preprocess(config)
    seen = []

    class Recorder(MeanBrightness):
        def predict(self, images):
            seen.append(images)
            return super().predict(images)

    monkeypatch.setattr(ich.predict, "load_models", Recorder)
    predict([tmp_path / "dicom"], [tmp_path / "model.keras"])
    trained_on = read_pngs([Workspace(config).png / f"{image_id}.png" for image_id in small_dataset], 64)
    assert np.array_equal(np.concatenate(seen), trained_on)
