import os

import polars as pl
import pytest

from ich.config.read import validate
from ich.errors import DataError, UnreadableSlice
from ich.prepare.index import index
from ich.sources import Files, list_files, locate_files, read_file
from ich.workspace import Workspace


@pytest.fixture
def tree(tmp_path):
    """Files of five slices, in folders within folders, beside what is none."""
    for name in (
        "b/ID_2.dcm", "b/c/ID_1.DCM", "ID_3.dcm", "b/a b ü/ID_4.dcm", "x.y/ID_5.dcm",
        "ID_6.txt", "._ID_3.dcm", ".hidden/ID_7.dcm", ".dcm", "dcm", "ID_8dcm",
    ):  # fmt: skip
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "tree" / "ID_9.dcm").mkdir()  # a folder
    return tmp_path / "tree"


def test_slices_are_found_in_folders_within_folders(tree):
    files = list_files([str(tree)])
    assert [file.image_id for file in files] == ["ID_1", "ID_2", "ID_3", "ID_4", "ID_5"]
    assert [file.path.removeprefix(f"{tree}/") for file in files][:2] == ["b/c/ID_1.DCM", "b/ID_2.dcm"]
    assert files[0] == files[:1][0]
    assert (files[2].size, files[2].modified_ns) == (8, (tree / "ID_3.dcm").stat().st_mtime_ns)
    assert read_file(files[3]) == "b/a b ü/ID_4.dcm".encode()


def test_several_folders_are_one_source(tree, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "ID_0.dcm").write_bytes(b"0")
    files = locate_files(["ID_3", "ID_0", "ID_absent"], [str(tree), str(other)])
    assert [(file.image_id, file.size) for file in files] == [("ID_3", 8), ("ID_0", 1), ("ID_absent", -1)]
    with pytest.raises(UnreadableSlice, match="no such file"):
        read_file(files[2])


def test_two_files_of_one_name_are_refused(tree):
    (tree / "x.y" / "ID_2.dcm").write_bytes(b"another")
    with pytest.raises(DataError, match=r"two files have the name of one slice, .*b/ID_2.dcm and .*x.y/ID_2.dcm \(1 "):
        list_files([str(tree)])
    (tree / "same").symlink_to(tree / "b")
    overlapping = ["b/c", "b", "same", "b/../b", "b/a b ü"]
    assert len(list_files([str(tree / place) for place in overlapping])) == 3


def test_links_are_followed_once(tree):
    (tree / "b" / "up").symlink_to(tree)
    (tree / "b" / "ID_a.dcm").symlink_to(tree / "ID_3.dcm")
    (tree / "b" / "ID_broken.dcm").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "ID_pipe.dcm")
    found = {file.image_id: file.size for file in list_files([str(tree)])}
    assert found == {
        "ID_1": 12, "ID_2": 10, "ID_3": 8, "ID_4": 17, "ID_5": 12, "ID_a": 8, "ID_broken": -1, "ID_pipe": -1
    }  # fmt: skip


def test_a_table_of_files_is_a_sequence_of_them(tree):
    files = list_files([str(tree)])
    assert list(files) == files[:] == [files[number] for number in range(len(files))]
    assert len(Files(files.table.clear())) == 0


def test_the_steps_read_several_folders(experiment, small_dataset, tmp_path):
    away = tmp_path / "away" / "deep"
    away.mkdir(parents=True)
    for name in small_dataset[:10]:
        (tmp_path / "dicom" / f"{name}.dcm").rename(away / f"{name}.dcm")
    places = [str(tmp_path / "dicom"), str(tmp_path / "away")]
    config = experiment(data={"labels": str(tmp_path / "labels.csv"), "dicom": places})
    assert index(config).counts["ok"] == 48
    paths = pl.read_parquet(Workspace(config).index)["path"]
    assert [str(away) in path for path in paths] == [True] * 10 + [False] * 38


def test_the_config_takes_paths_lists_and_urls():
    def sources(dicom):
        return validate({"workspace": "w", "data": {"labels": "l.csv", "dicom": dicom}}, "test").data.sources

    assert sources("dicom") == ("dicom",)
    assert sources(["a", "s3://bucket/a"]) == ("a", "s3://bucket/a")
    assert sources("file:///data/dicom") == ("/data/dicom",)
    assert sources("~") == (os.path.expanduser("~"),)  # noqa: PTH111
    assert sources(2019) == ("2019",)
