import os

import numpy as np
import polars as pl
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from conftest import make_labels, make_slice
from ich.errors import DataError
from ich.files import read_json
from ich.prepare.identical import find_identical
from ich.prepare.index import index
from ich.prepare.patients import patients
from ich.prepare.split import split
from ich.prepare.splits_file import read_assignment
from ich.workspace import Workspace
from transfer_syntaxes import encode


def test_headers_positions_and_order(experiment, small_dataset):
    config = experiment()
    outcome = index(config)
    table = pl.read_parquet(Workspace(config).index)
    assert table["ImageID"].to_list() == small_dataset
    assert table["patient"].n_unique() == outcome.counts["patients"] == 12
    assert table["position_mm"].to_list() == [0, 5, 10, 15] * 12
    assert table["slice_index"].to_list() == [0, 1, 2, 3] * 12
    assert table["slice_spacing_mm"].unique().to_list() == [5]


def test_every_file_and_every_label_is_accounted_for(experiment, small_dataset, tmp_path):
    lost, unlabelled, broken = small_dataset[3], "ID_ffffffff0", small_dataset[7]
    source = tmp_path / "dicom"
    (source / f"{lost}.dcm").rename(source / f"{unlabelled}.dcm")
    (source / f"{broken}.dcm").write_text("not dicom")
    config = experiment()
    outcome = index(config)
    rows = {row["ImageID"]: row for row in pl.read_parquet(Workspace(config).index).iter_rows(named=True)}
    assert len(rows) == 49
    assert rows[lost]["status"] == "missing"
    assert rows[broken]["status"] == "quarantined"
    assert "DICM" in rows[broken]["reason"]
    assert outcome.incomplete
    assert pl.read_csv(config.workspace / "labels_without_files.csv")["ImageID"].to_list() == [lost]
    assert pl.read_csv(config.workspace / "files_without_labels.csv")["ImageID"].to_list() == [unlabelled]


def test_slices_without_patient_id_are_kept_by_study(experiment, small_dataset, tmp_path):
    for name in small_dataset[:8]:
        path = tmp_path / "dicom" / f"{name}.dcm"
        dataset = pydicom.dcmread(path)
        del dataset.PatientID
        dataset.StudyInstanceUID = f"study of {name[:7]}"
        dataset.save_as(path)
    config = experiment(split={"fractions": [0.5, 0.25, 0.25]})
    index(config)
    split(config)
    assignment = read_assignment(Workspace(config))
    assert sorted(assignment["ImageID"]) == small_dataset
    assert assignment.filter(pl.col("ImageID").is_in(small_dataset[:4]))["split"].n_unique() == 1


def test_a_slice_without_patient_id_goes_with_its_study(experiment, small_dataset, tmp_path):
    """Every second slice of a patient lost its PatientID: by itself it would be a patient of its own."""
    for name in small_dataset:
        path = tmp_path / "dicom" / f"{name}.dcm"
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = f"study of {name[:7]}"
        if small_dataset.index(name) % 2:
            dataset.PatientID = ""
        if small_dataset.index(name) % 4 == 3:
            dataset.StudyInstanceUID = ""  # the series tells
        dataset.save_as(path)
    config = experiment(split={"fractions": [0.5, 0.25, 0.25]})
    index(config)
    split(config)
    found = patients(Workspace(config))
    assert found["patient"].n_unique() == 12
    assert found["patient"].to_list() == [f"ID_{int(name[3:7], 16):08x}" for name in small_dataset]
    assert len(read_json(Workspace(config).splits)["assignment"]) == 12


def test_hashes_are_of_the_hu_whatever_the_file(experiment, small_dataset, tmp_path):
    """The same HU in another transfer syntax, with another intercept, and as signed values; and others beside them."""
    source = tmp_path / "dicom"
    hu = np.arange(-1024, -1024 + 64 * 32).reshape(64, 32) % 3000 - 1000
    plain, compressed, shifted, signed, turned, broken = (source / f"{name}.dcm" for name in small_dataset[::8])
    make_slice(plain, (hu + 1024).astype(np.uint16), PatientID="A")
    make_slice(compressed, (hu + 1024).astype(np.uint16), PatientID="B")
    encode(compressed, JPEG2000Lossless)
    make_slice(shifted, (hu + 1000).astype(np.uint16), RescaleIntercept=-1000, PatientID="C")
    make_slice(signed, hu.astype(np.int16), RescaleIntercept=0, PatientID="D")
    wrapped = source / f"{small_dataset[1]}.dcm"
    make_slice(wrapped, np.full((64, 64), 3096, np.uint16), RescaleIntercept=0)
    make_slice(turned, (hu + 1024).astype(np.uint16).reshape(32, 64), PatientID="E")  # the same bytes, another picture
    make_slice(broken, (hu + 1024).astype(np.uint16), PatientID="F")
    broken.write_bytes(broken.read_bytes()[:-99])
    config = experiment(index={"hash": True})
    outcome = index(config)
    rows = {row["ImageID"]: row for row in pl.read_parquet(Workspace(config).index).iter_rows(named=True)}
    same = {rows[path.stem]["hu_hash"] for path in (plain, compressed, shifted, signed)}
    assert len(same) == 1
    assert rows[turned.stem]["hu_hash"] not in same
    assert (rows[broken.stem]["status"], rows[broken.stem]["hu_hash"]) == ("ok", None)  # its header can be read
    assert rows[broken.stem]["reason"] == "header only: holds 3,997 of 4,096 pixel bytes"
    assert (rows[wrapped.stem]["status"], rows[wrapped.stem]["repairs"]) == ("repaired", ["twelve_bit_wrap"])
    assert {name: outcome.counts[name] for name in ("ok", "repaired", "repair: twelve_bit_wrap")} == {
        "ok": 47, "repaired": 1, "repair: twelve_bit_wrap": 1,
    }  # fmt: skip
    assert (outcome.counts["with a hash of the pixels"], outcome.incomplete) == (47, False)
    groups = find_identical(Workspace(config).index).groups
    assert sorted(groups["patient"]) == ["A", "B", "C", "D"]
    plainly = experiment()
    index(plainly)  # the setting is part of what the parts are named by
    assert pl.read_parquet(Workspace(plainly).index)["hu_hash"].null_count() == 48


def test_missing_and_empty_folder(experiment, tmp_path):
    make_labels(tmp_path / "labels.csv", {"ID_a": {}})
    with pytest.raises(DataError, match="does not exist; set data.dicom"):
        index(experiment())
    (tmp_path / "dicom").mkdir()
    with pytest.raises(DataError, match="holds no .dcm files"):
        index(experiment())


def test_a_file_name_that_the_tables_cannot_hold(experiment, small_dataset, tmp_path):
    source = tmp_path / "dicom"
    try:
        (source / f"{small_dataset[0]}.dcm").rename(os.fsdecode(os.fsencode(source) + b"/ID_caf\xe9.dcm"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DataError, match=r"ID_caf\\xe9\.dcm: names must be UTF-8.*rename it \(1 such files\)") as error:
        index(experiment())
    assert str(error.value).isascii()


@pytest.mark.parametrize(
    "damage",
    [
        lambda part: part.head(5),
        lambda part: part.drop("position"),
        lambda part: part.with_columns(position=pl.lit("here")),
        lambda part: part.reverse(),
    ],
    ids=["fewer rows", "lacks a column", "another type", "other slices"],
)
def test_a_part_that_is_not_what_it_should_be_is_made_again(experiment, small_dataset, damage):
    config = experiment()
    index(config)
    whole = Workspace(config).index.read_bytes()
    (part,) = (Workspace(config).parts / "index").iterdir()
    damage(pl.read_parquet(part)).write_parquet(part)
    index(config)
    assert Workspace(config).index.read_bytes() == whole
