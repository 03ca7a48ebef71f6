"""Nothing outside the workspace is changed, whatever links, names and ids say. `precious` is what must stay."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import make_slice
from ich.cli import run_command
from ich.labels import LABELS

STEPS = "[index, split, sample, copy, preprocess, augment, datacard]"
HOSTILE_IDS = ("ID_../../x", "ID_/etc/passwd", "ID_\u202egnp.dcm", "ID_a\0b", "ID_a\nb", "ID_*", "ID_", "-rf",
               f"ID_{'a' * 201}", "ID_caf\u00e9", "ID_%2e%2e%2fx", "ID_x y", "ID_x;rm -rf .")  # fmt: skip
ODD_NAMES = ("b l a n k", "'quotes' \"two\"", "new\nline", "*", "[a-z]?", "-rf", "\u540d\u524d \u00fc\u0301",
             "\u202egnp", "\x1b[31mred", "$(touch x)", "a" * 240, "..", "a..b", "%s%n", "~", "#")  # fmt: skip


@pytest.fixture
def precious(tmp_path) -> Path:
    """A folder of somebody's work, with files named as ours are."""
    folder = tmp_path / "precious"
    names = ("thesis.docx", "ID_000000000.png", "other.png", "ID_000000000.dcm", "a_aug_0.png", "000000-0.parquet")
    for place in (folder, folder / "deep"):
        place.mkdir()
        for name in names:
            (place / name).write_text(f"years of work: {name}")
    return folder


def snapshot(*folders: Path) -> dict[str, tuple[int, int, str]]:
    """What is in some folders: time, mode, content."""
    found = {}
    for path in (each for folder in folders for each in (folder, *sorted(folder.iterdir()))):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (status.st_mtime_ns, status.st_mode, content)
    return found


@pytest.fixture
def config(config_file, small_dataset) -> str:
    return str(config_file(steps=STEPS, augment="{target: 16}", copy="{mode: copy}", index="{hash: true}"))


PLACES = (
    "labels", "raw_png", "raw_dicom", "data_train", "data_val", "phantom", "phantom/masks", "models", "runs",
    "runs/default", "runs/default/tensorboard", "runs/default/tensorboard/gate", "parts", "parts/preprocess", "records",
)  # fmt: skip


def test_a_folder_that_is_a_link_out_of_the_workspace_is_refused(config_file, precious, tmp_path, capfd):
    config = str(config_file(steps=STEPS))
    (tmp_path / "dicom").mkdir()
    workspace = tmp_path / "workspace"
    before = snapshot(precious, precious / "deep")
    for place in PLACES:
        for target in (precious, precious / "deep", precious / "not yet"):
            shutil.rmtree(workspace, ignore_errors=True)
            link = workspace / place
            link.parent.mkdir(parents=True)
            if place != "records":
                (workspace / "records").mkdir()
            link.symlink_to(target)
            for command in ("run", "preprocess"):
                assert run_command([command, "-c", config]) == 1
                said = capfd.readouterr().err
                of_records = "|holds files that are not ours" if place == "records" else ""
                assert re.search(rf"{place} is a link that leads out of the workspace{of_records}", said)
                assert said.count("\n") == 1
            assert snapshot(precious, precious / "deep") == before


def test_links_in_place_of_files_are_replaced_not_written_through(config, precious, tmp_path, monkeypatch):
    workspace = tmp_path / "workspace"
    assert run_command(["run", "-c", config]) == 0
    images = {path.name: path.read_bytes() for path in sorted((workspace / "raw_png").iterdir())}
    copies = [path.name for path in sorted((workspace / "data_train").glob("*_aug_*.png"))]
    before = snapshot(precious, precious / "deep")
    monkeypatch.setattr(os, "getpid", lambda: 4321)  # what temporary names end in
    for target in (precious / "thesis.docx", precious / "deep", precious / "not yet"):
        shutil.rmtree(workspace / "parts")
        planted = [
            *(workspace / "raw_png" / f"{'.' * dot}{name}{'.4321' * dot}" for name in images for dot in (0, 1)),
            *(workspace / "data_train" / f"{'.' * dot}{name}{'.4321' * dot}" for name in copies for dot in (0, 1)),
            *(workspace / folder / ".writing-by-us" for folder in ("raw_dicom", "raw_png")),
            *(workspace / f".data_{split}.{age}" for split in ("train", "val", "test") for age in ("new", "old")),
            *(workspace / name for name in ("index.parquet", "slices.parquet", "splits.json", "data_sampled.csv",
                                            "data_train.csv", "missing_files.csv", "data_card.html",
                                            "data_card.json", "records/index.json")),
        ]  # fmt: skip
        for path in planted:
            path.unlink(missing_ok=True)
            path.symlink_to(target)
        for step in STEPS[1:-1].split(", "):
            assert run_command([step, "-c", config]) == 0, (step, target)
        assert snapshot(precious, precious / "deep") == before
        assert {path.name: path.read_bytes() for path in sorted((workspace / "raw_png").iterdir())} == images
        assert sorted(path.name for path in (workspace / "data_train").glob("*_aug_*.png")) == copies
        links = [path for path in workspace.rglob("*") if path.is_symlink() and path.parent.name[:5] != "data_"]
        assert links == []


@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_a_lock_that_is_another_file_is_not_written(config_file, precious, tmp_path, capfd, kind):
    config, lock = str(config_file(steps=STEPS)), tmp_path / "workspace" / "records" / ".lock"
    lock.parent.mkdir(parents=True)
    if kind == "link":
        lock.symlink_to(precious / "thesis.docx")
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.hardlink_to(precious / "thesis.docx")
    before = snapshot(precious, precious / "deep")
    assert run_command(["index", "-c", config]) == 1
    assert re.search(r"records/\.lock is (a link|no file of its own).*; remove it\n$", capfd.readouterr().err)
    assert snapshot(precious, precious / "deep") == before


def test_a_workspace_that_is_a_link_as_a_whole_is_used(config, tmp_path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "workspace").symlink_to(tmp_path / "large disk")
    assert run_command(["index", "-c", config]) == 0
    assert (tmp_path / "large disk" / "index.parquet").is_file()


def test_a_hostile_id_in_the_label_file_is_refused(config, precious, tmp_path, capfd):
    labels, source = tmp_path / "labels.csv", tmp_path / "dicom"
    good = labels.read_bytes()
    before = snapshot(source, precious, precious / "deep")
    for image_id in HOSTILE_IDS:
        rows = "".join(f'"{image_id}_{label}",0\n' for label in LABELS)
        labels.write_bytes(good + rows.encode())
        assert run_command(["index", "-c", config]) == 1
        said = capfd.readouterr().err
        assert re.search(r"label file .*labels\.csv, row \d+: (ID|Label) must|is not a CSV", said)
        assert said.count("\n") == 1
        assert said[:-1].isprintable()
        assert snapshot(source, precious, precious / "deep") == before
        assert [path.name for path in (tmp_path / "workspace").iterdir()] == ["records"]


def test_the_longest_id_goes_through_all_steps(config, small_dataset, tmp_path):
    longest = f"ID_{'a' * 197}"
    labels = tmp_path / "labels.csv"
    labels.write_text(labels.read_text().replace(small_dataset[7], longest))
    (tmp_path / "dicom" / f"{small_dataset[7]}.dcm").rename(tmp_path / "dicom" / f"{longest}.dcm")
    assert run_command(["run", "-c", config, "--steps", STEPS.replace(", augment", "")]) == 0
    assert (tmp_path / "workspace" / "raw_png" / f"{longest}.png").is_file()


def test_odd_file_names_and_links_in_the_source_harm_nothing(config, small_dataset, precious, tmp_path, capfd):
    source = tmp_path / "dicom"
    content = (source / f"{small_dataset[0]}.dcm").read_bytes()
    for name in ODD_NAMES:
        (source / f"ID_{name}.dcm").write_bytes(content)
    (source / ".ID_hidden.dcm").write_bytes(content)
    (source / "ID_damaged\x1b[31m\nname.DCM").write_bytes(b"junk")
    for name, target in (
        ("passwd", "/etc/passwd"), ("dangling", "nowhere"), ("loop", "ID_loop.dcm"), ("zero", "/dev/zero"),
        ("pipe", "pipe"), ("thesis", precious / "thesis.docx"),
    ):  # fmt: skip
        (source / f"ID_{name}.dcm").symlink_to(target)
    os.mkfifo(source / "pipe")
    (source / "around").symlink_to(source)
    (source / "a").symlink_to("b")
    (source / "b").symlink_to("a")
    before = snapshot(source, precious, precious / "deep")
    assert run_command(["index", "-c", config]) == 3
    said = capfd.readouterr().err
    assert all(line.isprintable() for line in said.split("\n"))
    assert snapshot(source, precious, precious / "deep") == before
    rows = {name: (status, reason) for name, status, reason in pl.read_parquet(
        tmp_path / "workspace" / "index.parquet", columns=["ImageID", "status", "reason"]).iter_rows()}  # fmt: skip
    assert {name for name, (status, _) in rows.items() if status == "ok"} == {
        *small_dataset, *(f"ID_{name}" for name in ODD_NAMES)
    }  # fmt: skip
    assert {rows[f"ID_{name}"] for name in ("dangling", "loop", "zero", "pipe")} == {("missing", "no such file")}
    assert rows["ID_passwd"] == rows["ID_thesis"] == ("quarantined", "not a DICOM file: no DICM prefix")


def test_folders_nested_deeper_than_the_stack_are_searched(config, small_dataset, tmp_path):
    at = os.open(tmp_path / "dicom", os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 1):  # by descriptors: the path is longer than a call may take
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.link(tmp_path / "dicom" / f"{small_dataset[0]}.dcm", "ID_deep.dcm", dst_dir_fd=at)
    os.close(at)
    try:
        assert run_command(["index", "-c", config]) == 0
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "dicom" / "d"], check=True)  # Python's own would not get down there
    rows = pl.read_parquet(tmp_path / "workspace" / "index.parquet", columns=["ImageID", "status"]).rows()
    assert ("ID_deep", "ok") in rows


def test_hostile_patients_and_uids_stay_text(config, small_dataset, precious, tmp_path):
    hostile = ("../../precious", "/etc/passwd", "a\x1b[31mb", "", "*", "ID_" + "9" * 64, "a\\b", "\u202egnp")
    generator = np.random.default_rng(0)
    for name, text in zip(small_dataset[::4], hostile, strict=False):
        uid = text if text.isascii() else ""
        make_slice(
            tmp_path / "dicom" / f"{name}.dcm", generator.integers(900, 1100, (64, 64)).astype(np.int16),
            PatientID=text, StudyInstanceUID=uid, SeriesInstanceUID=uid, SpecificCharacterSet="ISO_IR 192",
        )  # fmt: skip
    before = snapshot(tmp_path, tmp_path / "dicom", precious, precious / "deep")
    assert run_command(["run", "-c", config, "--steps", STEPS.replace(", augment", "")]) == 0
    after = snapshot(tmp_path, tmp_path / "dicom", precious, precious / "deep")
    new = {path for path in after if after[path] != before.get(path)}
    assert new == {str(tmp_path), str(tmp_path / "workspace")}
    patients = set(pl.read_parquet(tmp_path / "workspace" / "index.parquet")["patient"].drop_nulls())
    assert {"../../precious", "/etc/passwd", "a [31mb", "*"} <= patients
    assert all(patient.isprintable() for patient in patients)
