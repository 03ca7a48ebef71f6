import json

import numpy as np
import polars as pl
import pydicom
import pytest

from conftest import make_labels, make_slice
from ich.errors import DataError
from ich.labels import read_table
from ich.prepare.index import index
from ich.prepare.patients import patients
from ich.prepare.preprocess import preprocess
from ich.prepare.sample import sample
from ich.prepare.split import split
from ich.prepare.splits_file import read_assignment
from ich.workspace import SPLITS, Workspace


@pytest.mark.parametrize("order", ["patients first", "notebooks"])
def test_both_orders_fill_the_folders(experiment, small_dataset, order):
    if order == "patients first":
        config = experiment(split={"fractions": [0.5, 0.25, 0.25]})
        steps = (index, split, sample, preprocess)
    else:
        config = experiment(
            split={"fractions": [0.5, 0.25, 0.25], "unit": "slice"}, sample={"scope": "all"},
            steps=["sample", "copy", "preprocess", "split"],
        )  # fmt: skip
        steps = (sample, preprocess, split)
    for step in steps:
        step(config)
    workspace = Workspace(config)
    found = []
    for name in SPLITS:
        ids = pl.read_csv(workspace.table(name))["ImageID"].to_list()
        images = sorted(path.stem for path in workspace.images(name).iterdir())
        assert ids == images
        assert all((workspace.images(name) / f"{image_id}.png").resolve().parent == workspace.png for image_id in ids)
        found += ids
    assert sorted(found) == small_dataset
    record = json.loads(workspace.splits.read_text())
    assert record["units_in_two_splits"] == 0
    assert sum(part["slices"] for part in record["splits"].values()) == 48


def test_too_few_patients(experiment, small_dataset):
    config = experiment()
    index(config)
    workspace = Workspace(config)
    pl.read_parquet(workspace.index).with_columns(patient=pl.lit("one")).write_parquet(workspace.index)
    with pytest.raises(DataError, match="1 patients cannot fill 3 splits; add data"):
        split(config)


def test_two_patients_in_one_series_are_named(experiment, small_dataset, tmp_path):
    config = experiment(split={"fractions": [0.5, 0.25, 0.25]})
    for image_id in small_dataset[:2]:  # of the first patient, whose series is that of the second now
        path, pixels = tmp_path / "dicom" / f"{image_id}.dcm", np.zeros((64, 64), np.uint16)
        make_slice(path, pixels, PatientID="ID_00000000", SeriesInstanceUID="ID_0000000001")
    index(config)
    note = "series with more than one PatientID: 1, such as ID_0000000001: is each of one person?"
    assert note in split(config).notes


def test_damaged_pixels_still_tell_whose_the_other_slices_are(experiment, small_dataset, tmp_path):
    """A patient with two studies; in one of them only a slice that cannot be used has the PatientID."""
    paths = [tmp_path / "dicom" / f"{name}.dcm" for name in small_dataset[:4]]
    for number, path in enumerate(paths):
        make_slice(path, np.zeros((64, 64), np.uint16), StudyInstanceUID=f"1.{number // 2}", SeriesInstanceUID="")
    for path in paths[1:2]:
        dataset = pydicom.dcmread(path)
        dataset.PatientID = ""
        dataset.save_as(path)
    paths[0].write_bytes(paths[0].read_bytes()[:-99])
    config = experiment(steps=["sample", "copy", "preprocess", "split"], sample={"scope": "all"})
    sample(config)
    preprocess(config)
    found = dict(patients(Workspace(config)).iter_rows())
    assert small_dataset[0] not in found
    assert found[small_dataset[1]] == found[small_dataset[2]] == pydicom.dcmread(paths[2]).PatientID


def test_a_file_of_another_patient_than_when_it_was_split_is_noticed(experiment, small_dataset, tmp_path):
    config = experiment(steps=["index", "split", "sample", "copy", "preprocess"])
    for step in (index, split, sample):
        step(config)
    source = tmp_path / "dicom"
    (source / f"{small_dataset[0]}.dcm").write_bytes((source / f"{small_dataset[-1]}.dcm").read_bytes())
    with pytest.raises(DataError, match=f"1 files are of another patient .* such as that of {small_dataset[0]}; run"):
        preprocess(config)


def test_labels_of_other_data_are_named(experiment, small_dataset, tmp_path):
    make_labels(tmp_path / "other.csv", {"ID_elsewhere": {}})
    config = experiment(data={"labels": str(tmp_path / "other.csv"), "dicom": str(tmp_path / "dicom")})
    index(config)
    with pytest.raises(DataError, match="none of the 1 labelled slices has a readable file; do .*other.csv and"):
        split(config)


def test_an_index_of_an_earlier_config_is_not_used(experiment, small_dataset):
    index(experiment())
    workspace = Workspace(experiment(sample={"scope": "all"}, steps=["sample", "copy", "preprocess", "split"]))
    with pytest.raises(DataError, match="run `ich index` or `ich preprocess`"):
        patients(workspace)
    rows = {"ImageID": "ID_1", "status": "ok", "patient": "P", "study": "S", "series": "T"}
    pl.DataFrame(rows).write_parquet(workspace.slices)
    assert patients(workspace).rows() == [("ID_1", "P")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: pl.read_parquet(path).drop("patient").write_parquet(path),
        lambda path: pl.read_parquet(path).with_columns(patient=pl.lit(7)).write_parquet(path),
    ],
    ids=["truncated", "empty", "lacks a column", "another type"],
)
def test_a_damaged_index_is_named(experiment, small_dataset, damage):
    config = experiment()
    index(config)
    damage(Workspace(config).index)
    with pytest.raises(DataError, match=r"index\.parquet cannot be read \(.*\); delete it and run its step again"):
        split(config)


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "3", '{"unit": "patient"}', '{"unit": "slice", "assignment": {"ID_1": "tset"}}',
     '{"unit": "slice", "assignment": {"ID_1": ["test"]}}', '{"unit": ["slice"], "assignment": {}}'],
)  # fmt: skip
def test_splits_json_that_holds_no_split(experiment, text):
    workspace = Workspace(experiment())
    workspace.root.mkdir()
    workspace.splits.write_text(text)
    with pytest.raises(DataError, match=r"splits\.json does not hold a split; delete it and run split again"):
        read_assignment(workspace)


@pytest.mark.parametrize("unit", ["patient", "slice"])
def test_a_split_that_lacks_slices_is_refused(experiment, small_dataset, unit):
    config = experiment(split={"unit": unit})
    for step in (index, split, sample, preprocess):
        step(config)
    workspace = Workspace(config)
    content = json.loads(workspace.splits.read_text())
    del content["assignment"][next(iter(content["assignment"]))]
    workspace.splits.write_text(json.dumps(content))
    lost = 4 if unit == "patient" else 1
    with pytest.raises(DataError, match=rf"splits\.json lacks {lost} of the 48 labelled slices; run split again"):
        sample(config)
    with pytest.raises(DataError, match=rf"splits\.json lacks {lost} of the 48 sampled slices; run split again"):
        preprocess(config)


def test_patients_without_labels_are_in_no_split_and_in_nobodys_way(experiment, small_dataset, tmp_path):
    for place in range(2):
        path = tmp_path / "dicom" / f"ID_unlabelled{place}.dcm"
        make_slice(
            path, np.zeros((64, 64), np.int16), PatientID="ID_ffffffff", ImagePositionPatient=[0, 0, 5.0 * place]
        )
    config = experiment()
    for step in (index, split, sample, preprocess):
        step(config)
    assert sum(len(read_table(Workspace(config).table(name))) for name in SPLITS) == 48


def test_slices_whose_header_cannot_be_read_belong_to_no_patient(experiment, small_dataset, tmp_path):
    (tmp_path / "dicom" / f"{small_dataset[5]}.dcm").write_text("not dicom")
    config = experiment()
    index(config)
    assert small_dataset[5] not in patients(Workspace(config))["ImageID"].to_list()


def test_slices_without_a_readable_file_are_counted(experiment, small_dataset, tmp_path):
    (tmp_path / "dicom" / f"{small_dataset[5]}.dcm").write_text("not dicom")
    (tmp_path / "dicom" / f"{small_dataset[9]}.dcm").unlink()
    config = experiment()
    index(config)
    counts = split(config).counts
    assert (counts["slices"], counts["assigned"], counts["without readable file"]) == (48, 46, 2)


def test_a_slice_too_many_does_not_add_up(experiment, small_dataset):
    config = experiment()
    index(config)
    table = pl.read_parquet(Workspace(config).index)
    pl.concat([table, table.head(1)]).write_parquet(Workspace(config).index)
    with pytest.raises(DataError, match=r"split does not add up: \{.*\} and 0 without readable file of 48 slices"):
        split(config)
