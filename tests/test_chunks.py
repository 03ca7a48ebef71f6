import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from ich import chunks
from ich.chunks import holds, run_in_chunks
from ich.errors import IchError
from ich.sources.file import SourceFile

ITEMS = list(range(10))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 3)


def squares(items):
    return pl.DataFrame({"square": [item**2 for item in items]}, schema={"square": pl.Int64})


def fail_on_seven(items):
    if 7 in items:
        raise IchError("seven")
    return squares(items)


def run(tmp_path, work=squares, items=ITEMS, settings="", workers=1, intact=lambda chunk, part: True):
    rows = run_in_chunks("test", items, work, folder=tmp_path, settings=settings, workers=workers, intact=intact)
    return rows.collect()["square"].to_list()


def test_rows_come_in_order_whatever_the_number_of_workers(tmp_path):
    assert run(tmp_path) == run(tmp_path / "two", workers=2) == [item**2 for item in ITEMS]
    names = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert names == sorted(path.name for path in (tmp_path / "two").glob("*.parquet"))


def test_a_run_that_was_cut_off_continues(tmp_path):
    with pytest.raises(IchError, match="seven"):
        run(tmp_path, fail_on_seven)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    assert len(done) == 2
    assert run(tmp_path) == [item**2 for item in ITEMS]
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())


INTERRUPTING = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
import polars as pl
from ich.chunks import run_in_chunks

class Interrupting(list):
    def __getitem__(self, chunk):  # as a terminal does, to the whole group, while the first worker loads its modules
        if multiprocessing.active_children():
            time.sleep(0.2)
            os.killpg(0, signal.SIGINT)
        return super().__getitem__(chunk)

def run(items):
    return run_in_chunks("", items, pl.DataFrame, folder=Path(sys.argv[1]), settings="", workers=2, chunk=3,
                         intact=lambda *_: True).collect().height

try:
    run(Interrupting(range(99)))
except KeyboardInterrupt:
    print("interrupted, then", run(list(range(99))))
"""


def test_an_interrupt_while_work_is_handed_out_is_not_lost_and_is_one(tmp_path):
    command = [sys.executable, "-c", INTERRUPTING, tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert (result.stdout, result.stderr) == ("interrupted, then 99\n", "")


def test_changed_inputs_settings_or_lost_results_are_done_again(tmp_path):
    run(tmp_path)
    before = set(tmp_path.glob("*.parquet"))
    run(tmp_path, items=[*ITEMS[:9], 99])
    assert len(before & set(tmp_path.glob("*.parquet"))) == 3
    run(tmp_path, settings="other")
    assert not before & set(tmp_path.glob("*.parquet"))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    run(tmp_path, settings="other", intact=lambda chunk, part: 81 not in part["square"] and len(part) == len(chunk))
    assert sum(path.stat().st_mtime_ns != time for path, time in times.items()) == 1


def test_parts_of_another_version_are_done_again(tmp_path, monkeypatch):
    run(tmp_path)
    before = set(tmp_path.glob("*.parquet"))
    monkeypatch.setattr(chunks, "__version__", "another")
    run(tmp_path)
    assert not before & set(tmp_path.glob("*.parquet"))


def test_parts_of_other_settings_are_gone_before_their_results_are_written_over(tmp_path):
    run(tmp_path, settings="first")
    with pytest.raises(IchError, match="seven"):
        run(tmp_path, fail_on_seven, settings="second")
    done = []
    run(tmp_path, lambda items: done.extend(items) or squares(items), settings="first")
    assert done == ITEMS


def test_nothing_to_do(tmp_path):
    assert run(tmp_path, items=[]) == []


def test_a_file_that_was_there_but_could_not_be_read_is_tried_again():
    files = [SourceFile("ID_1", "a", 5, 0), SourceFile("ID_2", "b", -1, 0)]
    schema = {"ImageID": pl.String, "status": pl.String}
    for first, done in (("ok", True), ("quarantined", True), ("missing", False)):
        part = pl.DataFrame({"ImageID": ["ID_1", "ID_2"], "status": [first, "missing"]}, schema)
        assert holds(files, part, schema) == done
    assert not holds(files[:1], part, schema)


def test_damaged_parts_are_no_parts(tmp_path):
    """Whatever bit it is: what polars cannot notice, and what makes it panic."""
    run(tmp_path)
    part = min(tmp_path.glob("*.parquet"))
    whole = part.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] ^= 1 << rng.integers(8)
        part.write_bytes(damaged)
        assert run(tmp_path) == [item**2 for item in ITEMS]
        assert part.read_bytes() == whole
