"""Full disks, disks that cannot be written, files that come and go, odd paths: one line, and the next run works."""

import contextlib
import errno
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from ich.cli import run_command
from ich.files import fingerprint

STEPS = "[index, split, sample, copy, preprocess]"
FULL = r"ich: the disk is full while writing \S*{}/\S+; free space \(.*\) and run again\n"
KB = 1024


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk: only root may mount one")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def config(config_file, small_dataset) -> str:
    return str(config_file(steps=STEPS, copy="{mode: copy}", index="{hash: true}"))


def contents(workspace: Path) -> dict[str, str]:
    """All that steps meet in, and every file that does not belong there."""
    return {
        path.relative_to(workspace).as_posix(): str(path.readlink()) if path.is_symlink() else fingerprint(path)
        for path in sorted(workspace.rglob("*"))
        if path.is_file() and path.parent.name != "records" and path.parent.parent.name != "parts"
    }


def same(workspace: Path, reference: Path) -> bool:
    """Whether two workspaces hold the same; ledgers name the copies that they were made from."""
    found, expected = contents(workspace), contents(reference)
    ledgers = [pl.read_parquet(folder / "slices.parquet").drop("path") for folder in (workspace, reference)]
    del found["slices.parquet"], expected["slices.parquet"]
    return found == expected and ledgers[0].equals(ledgers[1])


def fill(disk: Path, left: int) -> Path:
    """Fill a disk until so many bytes are left."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - left)))
    return ballast


def run_on_a_disk_that_fills(config: str, disk: Path, capfd, left: list[int]) -> int:
    """Run with so many bytes left, then fewer or more, then enough; how many of the runs met a full disk."""
    full, workspace = 0, disk / "workspace"
    for each in left:
        ballast = fill(disk, each)
        code = run_command(["run", "-c", config, "--workspace", str(workspace)])
        said = capfd.readouterr().err
        if code == 1:
            full += 1
            assert re.search(FULL.format(workspace) + "$", said), said
            assert said.count("ich: ") == 1
            assert [path for path in workspace.rglob(".*") if path.name != ".lock"] == []
        else:
            assert code == 0
        ballast.unlink()
    assert run_command(["run", "-c", config, "--workspace", str(workspace)]) == 0
    return full


def test_a_full_disk_is_one_line_and_free_space_ends_the_run(config, small_disk, tmp_path, capfd):
    assert run_command(["run", "-c", config]) == 0
    capfd.readouterr()
    left = [0, 8 * KB, 60 * KB, 300 * KB, 700 * KB]
    assert run_on_a_disk_that_fills(config, small_disk, capfd, left) == len(left)
    assert same(small_disk / "workspace", tmp_path / "workspace")


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_is_full_at_any_page(config, small_disk, tmp_path, capfd, workers):
    assert run_command(["run", "-c", config]) == 0
    capfd.readouterr()
    more = Path(config)
    more.write_text(more.read_text().replace("workers: 1", f"workers: {workers}"))
    for pages in range(0, 300, 3):
        shutil.rmtree(small_disk / "workspace", ignore_errors=True)
        assert run_on_a_disk_that_fills(config, small_disk, capfd, [pages * 4 * KB]) in (0, 1)
        assert same(small_disk / "workspace", tmp_path / "workspace")


def test_a_write_that_finds_the_disk_full_is_one_line_and_the_next_run_ends_it(config, tmp_path, capfd, monkeypatch):
    """Any file may be the one that does not fit: here its renaming, which all writing ends in, fails."""
    assert run_command(["run", "-c", config]) == 0
    replace, written, fails = os.replace, [], set()

    def count_and_fail(path, target):
        written.append(target)
        if len(written) in fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    monkeypatch.setattr(os, "replace", count_and_fail)
    where = ["-c", config, "--workspace", str(tmp_path / "full")]
    assert run_command(["run", *where]) == 0
    assert len(written) > 100
    for chosen in random.Random(0).sample(range(1, len(written)), 6):
        shutil.rmtree(tmp_path / "full")
        capfd.readouterr()
        written, fails = [], {chosen}
        assert run_command(["run", *where]) == 1
        said = capfd.readouterr().err
        assert re.search(FULL.format(tmp_path / "full") + "$", said), said
        assert run_command(["run", *where]) == 0
        assert same(tmp_path / "full", tmp_path / "workspace")


def test_a_workspace_that_cannot_be_written_is_one_line(config, small_disk, tmp_path, capfd):
    workspace = ["--workspace", str(small_disk / "workspace")]
    assert run_command(["index", "-c", config, *workspace]) == 0
    before = contents(small_disk / "workspace")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    capfd.readouterr()
    for command in ("run", "index", "split"):
        assert run_command([command, "-c", config, *workspace]) == 1
        said = capfd.readouterr().err
        assert re.fullmatch(rf"ich: no permission for {small_disk}/\S+; change its permissions, .*\n", said)
    assert contents(small_disk / "workspace") == before
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert run_command(["run", "-c", config, *workspace]) == 0


@pytest.mark.skipif(not os.geteuid(), reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(config, tmp_path, capfd):
    assert run_command(["index", "-c", config]) == 0
    (tmp_path / "workspace").chmod(0o500)
    capfd.readouterr()
    assert run_command(["run", "-c", config]) == 1
    assert "no permission for" in capfd.readouterr().err
    (tmp_path / "workspace").chmod(0o700)
    assert run_command(["run", "-c", config]) == 0


def test_sources_that_cannot_be_written_are_read(config, small_disk, tmp_path):
    shutil.copytree(tmp_path / "dicom", small_disk / "dicom")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert run_command(["run", "-c", config, "--data.dicom", str(small_disk / "dicom")]) == 0


@pytest.mark.parametrize("mode", ["copy", "none"])
def test_a_file_that_goes_after_it_was_listed_is_missing_and_read_when_it_is_back(
    config, small_dataset, tmp_path, capfd, monkeypatch, mode
):
    config = [*("-c", config), "--copy.mode", mode, "--copy.verify", "sha256", "--split.unit", "slice"]
    name = small_dataset[5]
    path, away = tmp_path / "dicom" / f"{name}.dcm", tmp_path / "away.dcm"

    @contextlib.contextmanager
    def gone_after_listing(module, function):
        find = getattr(__import__(module, fromlist=[function]), function)
        source = path if not (module.endswith("preprocess") and mode == "copy") else (
            tmp_path / "workspace" / "raw_dicom" / f"{name}.dcm")  # fmt: skip

        def find_and_lose(*arguments):
            found = find(*arguments)
            source.rename(away)
            return found

        with monkeypatch.context() as during:
            during.setattr(f"{module}.{function}", find_and_lose)
            yield
        away.rename(source)

    def row(table):
        return pl.read_parquet(tmp_path / "workspace" / table).row(by_predicate=pl.col("ImageID") == name, named=True)

    with gone_after_listing("ich.prepare.index", "list_files"):
        assert run_command(["index", *config]) == 3
    assert row("index.parquet")["status"] == "missing"
    assert run_command(["index", *config]) == 0
    assert row("index.parquet")["status"] == "ok"
    for step in ("split", "sample"):
        assert run_command([step, *config]) == 0
    if mode == "copy":
        with gone_after_listing("ich.prepare.copy", "locate_files"):
            assert run_command(["copy", *config]) == 3
        assert (tmp_path / "workspace" / "missing_files.csv").read_text().split() == [
            "ImageID,reason", f"{name},cannot", "be", "read:", "No", "such", "file", "or", "directory",
        ]  # fmt: skip
    assert run_command(["copy", *config]) == 0
    if mode == "copy":  # a copy whose original goes is kept
        with gone_after_listing("ich.prepare.copy", "locate_files"):
            assert run_command(["copy", *config]) == 0
    with gone_after_listing("ich.prepare.preprocess", "locate_files"):
        assert run_command(["preprocess", *config]) == 3
    assert row("slices.parquet")["status"] == "missing"
    assert not (tmp_path / "workspace" / "raw_png" / f"{name}.png").exists()
    assert run_command(["preprocess", *config]) == 0
    assert row("slices.parquet")["status"] == "ok"
    assert (tmp_path / "workspace" / "raw_png" / f"{name}.png").is_file()


def test_blanks_and_any_letters_in_every_path(config_file, small_dataset, tmp_path):
    odd = tmp_path / "D\u00e4t\u00e4 \u540d\u524d [1] 'x' %s #"
    odd.mkdir()
    (tmp_path / "dicom").rename(odd / "d \u00fc")
    (tmp_path / "labels.csv").rename(odd / "l \u00df.csv")
    quoted = str(odd).replace("'", "''")
    config = config_file(
        workspace=f"'{quoted}/w \u00f8'", data=f"{{labels: '{quoted}/l \u00df.csv', dicom: '{quoted}/d \u00fc'}}",
        copy="{mode: link}", names="{train: tr\u00e4in set}",
    ).rename(odd / "c \u00e9.yaml")  # fmt: skip
    assert run_command(["run", "-c", str(config)]) == 0
    assert run_command(["status", "-c", str(config)]) == 0
    assert len(list((odd / "w \u00f8" / "raw_png").iterdir())) == len(small_dataset)
