import errno
import os

import polars as pl
import pytest

from ich.errors import DataError
from ich.files import atomic, file_sizes, fingerprint, read_json, read_parquet, write_bytes, write_json, write_parquet


def test_a_write_that_fails_leaves_the_last_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def interrupted():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "before")]


def test_rights_are_those_that_the_user_gives(tmp_path):
    before = os.umask(0o077)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")  # as the system says it: without a name

    monkeypatch.setattr("ich.files._new_file", full)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_bytes(tmp_path / "a.png", b"1")
    assert error.value.filename == str(tmp_path / "a.png")
    with pytest.raises(OSError, match="No space left") as error:
        write_parquet(tmp_path / "a.parquet", pl.DataFrame({"a": [1]}))
    assert error.value.filename == str(tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_read_again(tmp_path):
    table = pl.DataFrame({"a": [1], "b": ["x"]})
    write_parquet(tmp_path / "new" / "a.parquet", table)
    assert read_parquet(tmp_path / "new" / "a.parquet").equals(table)
    assert read_parquet(tmp_path / "new" / "a.parquet", {"b": pl.String}).columns == ["b"]
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}


def test_a_table_with_another_type_and_files_that_are_not_there_say_what_to_do(tmp_path):
    write_parquet(tmp_path / "a.parquet", pl.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match=r"a\.parquet cannot be read \(column a is Int64, not String\); delete it"):
        read_parquet(tmp_path / "a.parquet", {"a": pl.String})
    for read in (read_parquet, read_json, fingerprint):
        with pytest.raises(DataError, match="none does not exist; run the step that writes it"):
            read(tmp_path / "none")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match="is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_known_fingerprint_and_sizes(tmp_path):
    (tmp_path / "abc").write_text("abc")  # the example of FIPS 180-4
    assert fingerprint(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sizes(tmp_path) == {"abc": 3}
