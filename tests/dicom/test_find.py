import pytest

from ich.dicom.find import find_files
from ich.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.dcm", "a.DCM", "deep/c.dcm", ".hidden.dcm", "notes.txt"):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    for name in ("1.2.840.113619.7", "scan.ima", "without"):
        (tmp_path / "study" / name).write_bytes(b"\0" * 128 + b"DICM")
    return tmp_path / "study"


def names(found):
    return [path.name for path in found]


def test_dicom_is_known_by_its_ending_or_by_its_first_bytes_in_sorted_order(folder):
    assert names(find_files([folder])) == ["1.2.840.113619.7", "a.DCM", "b.dcm", "c.dcm", "scan.ima", "without"]


def test_a_file_that_is_named_is_taken_whatever_it_is_and_once(folder):
    assert names(find_files([folder / "notes.txt", folder, folder / "b.dcm"]))[0] == "notes.txt"
    assert len(find_files([folder / "notes.txt", folder, folder / "b.dcm"])) == 7


def test_linked_folders_are_searched_and_circles_end(folder, tmp_path):
    (folder / "deep" / "again").symlink_to(folder)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(folder)
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    assert len(find_files([tmp_path / "elsewhere"])) == 6


def test_nothing_found_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; give DICOM files or folders"):
        find_files([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="no DICOM files in the given folders"):
        find_files([tmp_path])
