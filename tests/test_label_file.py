import os
import zipfile

import pytest

from ich.errors import DataError
from ich.info import disk_need
from ich.label_file import fetch_labels
from ich.labels import read_long_labels
from ich.stages import is_up_to_date, run_step
from ich.workspace import Workspace


@pytest.fixture
def zipped(experiment, small_dataset, tmp_path):
    """An experiment whose labels are in a zip file."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as content:
        content.write(tmp_path / "labels.csv", "a/labels.csv")
    data = {"labels": str(tmp_path / "x.zip" / "a" / "labels.csv"), "dicom": str(tmp_path / "dicom")}
    return experiment(data=data, sample={"scope": "all"}, steps=["sample"])


def test_a_file_stays_where_it_is(experiment, small_dataset, tmp_path):
    workspace = Workspace(experiment())
    fetch_labels(workspace)
    assert workspace.label_csv == tmp_path / "labels.csv"
    assert not workspace.root.exists()


def test_a_member_of_a_zip_file_is_fetched_once_and_again_when_it_changed(zipped, small_dataset, tmp_path):
    fetched = Workspace(zipped).label_csv
    run_step("sample", zipped)
    assert fetched.read_bytes() == (tmp_path / "labels.csv").read_bytes()
    assert zipped.workspace in fetched.parents
    before = fetched.stat()
    fetch_labels(Workspace(zipped))
    assert fetched.stat().st_ino == before.st_ino
    assert is_up_to_date("sample", zipped)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as content:
        lines = (tmp_path / "labels.csv").read_text().splitlines(keepends=True)
        content.writestr("a/labels.csv", "".join(lines[:-6]))
    fetch_labels(Workspace(zipped))
    assert len(read_long_labels(fetched)[0]) == 47
    assert not is_up_to_date("sample", zipped)


def test_a_damaged_or_half_fetched_one_is_fetched_again(zipped):
    workspace = Workspace(zipped)
    fetch_labels(workspace)
    record = workspace.label_csv.with_name("labels.csv.json")
    for damage in (lambda: record.write_text("{"), record.unlink, workspace.label_csv.unlink):
        damage()
        fetch_labels(workspace)
        assert len(read_long_labels(workspace.label_csv)[0]) == 48
        assert record.exists()


def test_what_else_lies_where_labels_are_fetched_to_stays(zipped, tmp_path):
    folder = Workspace(zipped).fetched
    folder.mkdir(parents=True)
    mine = (tmp_path / "x.zip").rename(folder / "x.zip")
    data = zipped.data.model_copy(update={"labels": str(mine / "a" / "labels.csv")})
    inside = Workspace(zipped.model_copy(update={"data": data}))
    fetch_labels(inside)
    assert len(read_long_labels(inside.label_csv)[0]) == 48
    mine.write_bytes(b"damaged meanwhile")
    with pytest.raises(DataError, match="cannot be read"):
        fetch_labels(inside)
    assert sorted(path.name for path in folder.iterdir()) == ["labels.csv", "x.zip"]  # what was fetched is still there


def test_info_writes_nothing(zipped):
    assert disk_need(zipped) > 0
    assert not zipped.workspace.exists()


def test_what_is_not_in_the_zip_file_is_named(experiment, zipped, tmp_path):
    data = {"labels": str(tmp_path / "x.zip" / "b.csv"), "dicom": str(tmp_path / "dicom")}
    with pytest.raises(DataError, match=r"x.zip has no b.csv; `unzip -l` lists what it has"):
        fetch_labels(Workspace(experiment(data=data)))
    spoilt = bytearray((tmp_path / "x.zip").read_bytes())
    spoilt[60:80] = os.urandom(20)
    (tmp_path / "x.zip").write_bytes(spoilt)
    with pytest.raises(DataError, match=r"x.zip/a/labels.csv cannot be read \(.*\); get it again"):
        fetch_labels(Workspace(zipped))
    assert not Workspace(zipped).label_csv.exists()


def test_a_zip_file_in_place_of_the_csv_is_told(zipped, tmp_path):
    with pytest.raises(DataError, match=r"label file .*x.zip is a zip file; name the CSV file in it: .*x.zip/NAME.csv"):
        read_long_labels(tmp_path / "x.zip")
