import contextlib
import os
import random
import zipfile
from pathlib import Path

import pytest

from ich.dicom.read import LARGEST_FILE, CannotRead
from ich.errors import DataError, UnreadableSlice
from ich.sources import Files, archive, list_files, read_file
from ich.sources.file import SourceFile

CONTENT = bytes(range(256)) * 40
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def make_zip(path, members, method=zipfile.ZIP_DEFLATED, **options):
    with zipfile.ZipFile(path, "w", method) as content:
        for name, data in members.items():
            with content.open(name, "w", **options) as member:
                member.write(data)
    return path


def contents(source):
    files = list_files([str(source)])
    return {file.image_id: read_file(file) for file in files}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_zip_file_gives_what_its_folder_gives(prepared_from, planted_dataset, tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as content:
        for path in (tmp_path / "dicom").iterdir():
            content.write(path, f"rsna/stage_2_train/{path.name}")
        content.write(tmp_path / "labels.csv", "rsna/labels.csv")
    folder = prepared_from(str(tmp_path / "dicom"))
    place = str(tmp_path / "x.zip" / "rsna")
    assert prepared_from(f"{place}/stage_2_train", f"{place}/labels.csv") == folder
    assert prepared_from(place, mode="copy") == folder


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_members_are_read_whole_or_their_beginning(tmp_path, method):
    make_zip(tmp_path / "x.zip", {"a/ID_1.dcm": CONTENT, "a/b/ID_2.DCM": b"", "a/note.txt": b"?"}, method)
    assert contents(tmp_path / "x.zip") == {"ID_1": CONTENT, "ID_2": b""}
    first = list_files([str(tmp_path / "x.zip")])[0]
    assert read_file(first, 1000)[:1000] == CONTENT[:1000]
    assert first.path == f"{tmp_path}/x.zip/a/ID_1.dcm"


def test_a_folder_in_the_zip_file_is_that_folder_only(tmp_path):
    make_zip(tmp_path / "x.zip", {"a/ID_1.dcm": b"1", "ab/ID_2.dcm": b"2", "a/c/ID_3.dcm": b"3"})
    assert contents(tmp_path / "x.zip" / "a") == {"ID_1": b"1", "ID_3": b"3"}
    with pytest.raises(DataError, match=r"x.zip has no folder b/; `unzip -l` lists what it has"):
        list_files([str(tmp_path / "x.zip" / "b")])


def test_names_lead_nowhere(tmp_path):
    names = ["../../ID_1.dcm", "/etc/ID_2.dcm", "a/../ID_3.dcm", "._ID_4.dcm", ".dcm", "ID_5.dcm/"]
    make_zip(tmp_path / "x.zip", dict.fromkeys(names[:-1], b"1"))
    assert contents(tmp_path / "x.zip") == {"ID_1": b"1", "ID_2": b"1", "ID_3": b"1"}
    assert os.listdir(tmp_path) == ["x.zip"]  # noqa: PTH208


def test_large_zip_files(tmp_path):
    """Beyond 4 GiB, where places are told in another way; and members whose sizes are."""
    with (tmp_path / "x.zip").open("wb") as file:  # sparse
        file.seek(5 * 2**30)
        make_zip(file, {"ID_1.dcm": CONTENT, "ID_2.dcm": b"2"}, force_zip64=True)
    assert contents(tmp_path / "x.zip") == {"ID_1": CONTENT, "ID_2": b"2"}
    assert list_files([str(tmp_path / "x.zip")])[1].offset > 2**32


def test_sizes_that_stand_behind_their_member(tmp_path):
    class Pipe:
        """Cannot go back, so that sizes cannot be written before the bytes that they are of."""

        def __init__(self, file):
            self.write, self.flush = file.write, file.flush

    with (tmp_path / "x.zip").open("wb") as file:
        make_zip(Pipe(file), {"ID_1.dcm": CONTENT, "ID_2.dcm": b"2"})
    assert contents(tmp_path / "x.zip") == {"ID_1": CONTENT, "ID_2": b"2"}


def spoil(path: Path, old: bytes, new: bytes, place: int = 0) -> None:
    """Change the bytes that follow a signature, `place` bytes behind it, and leave the time as it was."""
    before, content = path.stat(), bytearray(path.read_bytes())
    at = content.index(old) + place
    content[at : at + len(new)] = new
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        (b"PK\3\4", b"\1", 6, "encrypted in the zip file"),
        (b"PK\3\4", b"\14", 8, "compressed by method 12 in the zip file; only deflate is read"),
        (b"PK\3\4", b"no", 0, "damaged in the zip file: no entry where the directory says"),
        (b"ID_1.dcm", b"\xff" * 8, 12, "damaged in the zip file"),
        (b"PK\1\2", b"\0\0\0\0", 16, "damaged in the zip file: its checksum is another"),
        (b"PK\1\2", (1000).to_bytes(4, "little"), 24, "damaged in the zip file: its checksum is another"),
        (b"PK\1\2", (0).to_bytes(4, "little"), 24, "damaged in the zip file: its checksum is another"),
        (b"PK\1\2", (2**30).to_bytes(4, "little"), 24, "1,073,741,824 bytes are more than a CT slice has"),
        (b"PK\1\2", (10**5).to_bytes(4, "little"), 24, "damaged in the zip file: its checksum is another"),
    ],
    ids=[
        "encrypted", "another method", "no entry", "damaged", "another checksum", "said to be small",
        "said to be empty", "said to be huge", "said to be larger",
    ],
)  # fmt: skip
def test_a_bad_member_gives_its_reason(tmp_path, old, new, place, reason):
    make_zip(tmp_path / "x.zip", {"ID_1.dcm": bytes(10**7)})
    spoil(tmp_path / "x.zip", old, new, place)
    (file,) = list_files([str(tmp_path / "x.zip")])
    with pytest.raises(UnreadableSlice, match=reason) as raised:
        read_file(file)
    assert not isinstance(raised.value, CannotRead)


def test_a_bomb_stays_as_small_as_it_says_it_is(tmp_path):
    make_zip(tmp_path / "x.zip", {"ID_1.dcm": bytes(10**7)})
    raw = zipfile.zlib.compress(bytes(10**7), wbits=-15)
    assert len(archive._inflate(raw, 1000)) == 1000
    assert len(archive._inflate(raw, 0)) == 1
    assert LARGEST_FILE < 2**30


def test_a_zip_file_that_changed_or_is_gone_is_tried_again(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"ID_1.dcm": CONTENT})
    (file,) = list_files([str(path)])
    os.utime(path, ns=(1, 1))
    with pytest.raises(CannotRead, match="the zip file changed since its files were listed; run again"):
        read_file(file, 100)
    path.unlink()
    with pytest.raises(CannotRead, match="cannot be read: No such file"):
        read_file(file)


def test_what_is_no_zip_file(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"<html>sign in</html>")
    with pytest.raises(DataError, match=r"zip file .*x.zip cannot be read \(File is not a zip file\); get it again"):
        list_files([str(tmp_path / "x.zip")])
    with pytest.raises(DataError, match=r"y.zip does not exist; set data.dicom"):
        list_files([str(tmp_path / "y.zip")])


def test_a_damaged_directory_is_refused_or_gives_reasons(tmp_path):
    path = make_zip(tmp_path / "x.zip", {f"ID_{n}.dcm": CONTENT[:n] for n in range(20)})
    whole, draw = path.read_bytes(), random.Random(0)
    start = whole.index(b"PK\1\2")
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[draw.randrange(start, len(whole))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            files: Files | list[SourceFile] = list_files([str(path)])
        except DataError:
            continue
        for file in files:
            with contextlib.suppress(UnreadableSlice):
                read_file(file)
