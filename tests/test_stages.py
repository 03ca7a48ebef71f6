"""What `ich run` repeats and what it leaves, and whose workspace it is."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import PREPARATION, make_slice
from ich.claim import claimed
from ich.cli import run_command
from ich.config.read import load
from ich.files import atomic, fingerprint


def test_run_does_what_is_not_up_to_date(config_file, small_dataset, capfd):
    config = config_file()
    assert run_command(["run", "-c", str(config), "--json"]) == 0
    counts = json.loads(capfd.readouterr().out)
    assert counts["preprocess"]["ok"] == 48
    run_command(["run", "-c", str(config)])
    assert capfd.readouterr().err.count("up to date") == 5
    run_command(["run", "-c", str(config), "--seed", "43"])  # what reads the seed, and all that follows it
    assert re.findall(r"(\w+): up to date", capfd.readouterr().err) == ["index"]
    Path(config.parent / "workspace" / "slices.parquet").unlink()
    run_command(["run", "-c", str(config), "--seed", "43"])
    assert re.findall(r"(\w+): up to date", capfd.readouterr().err) == ["index", "split", "sample", "copy"]


def test_what_a_repeated_step_changed_is_done_again(config_file, small_dataset, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = str(
        config_file(workspace="relative/workspace", steps=PREPARATION[:-1] + ", augment]", augment="{target: 20}")
    )
    run_command(["run", "-c", config])
    table = tmp_path / "relative" / "workspace" / "data_train.csv"
    augmented = fingerprint(table)
    run_command(["preprocess", "-c", config])
    assert fingerprint(table) == augmented  # nothing changed: augmented images stay
    changed = tmp_path / "dicom" / f"{small_dataset[0]}.dcm"
    make_slice(changed, np.arange(64 * 64, dtype=np.int16).reshape(64, 64) % 2000, PatientID="ID_00000000")
    run_command(["preprocess", "-c", config])  # fills the folders anew, without augmented images
    assert fingerprint(table) != augmented
    capfd.readouterr()
    run_command(["run", "-c", config])
    assert re.findall(r"(\w+): up to date", capfd.readouterr().err) == [
        "index",
        "split",
        "sample",
        "copy",
        "preprocess",
    ]
    assert fingerprint(table) == augmented
    labels = tmp_path / "labels.csv"
    labels.write_text(labels.read_text().replace(f"{small_dataset[0]}_subdural,0", f"{small_dataset[0]}_subdural,1")
                      .replace(f"{small_dataset[0]}_any,0", f"{small_dataset[0]}_any,1"))  # fmt: skip
    run_command(["run", "-c", config])
    assert "up to date" not in capfd.readouterr().err


def test_folders_that_lost_images_are_filled_again(config_file, small_dataset, tmp_path, capfd):
    steps = PREPARATION[:-1] + ", augment]"
    config = str(config_file(steps=steps, augment="{target: 20}", copy="{mode: copy}"))
    run_command(["run", "-c", config])
    workspace = tmp_path / "workspace"
    before = {path: fingerprint(path) for path in sorted(workspace.glob("*/*.[dp][cn][mg]"))}
    capfd.readouterr()
    run_command(["run", "-c", config])
    assert capfd.readouterr().err.count("up to date") == 6

    def cut_off(pattern):
        path = next(iter(sorted(workspace.glob(pattern))))
        content = path.read_bytes()
        path.unlink()  # not through a link
        path.write_bytes(content[:-1])

    def empty(name):
        for path in (workspace / name).iterdir():
            path.unlink()

    for damage, stale in (
        (lambda: cut_off("raw_dicom/*"), ["copy"]),
        (lambda: cut_off("raw_png/*"), ["preprocess"]),
        (lambda: cut_off("data_train/*_aug_*"), ["augment"]),
        (lambda: empty("raw_dicom"), ["copy"]),
        (lambda: empty("raw_png"), ["preprocess"]),
        (lambda: empty("data_train"), ["preprocess", "augment"]),
        (lambda: empty("data_val"), ["preprocess"]),
        (lambda: next((workspace / "data_train").glob("ID_?????????.png")).unlink(), ["preprocess", "augment"]),
        (lambda: (workspace / "raw_png" / "Thumbs.db").touch(), []),
    ):
        damage()
        assert run_command(["run", "-c", config]) == 0
        fresh = re.findall(r"(\w+): up to date", capfd.readouterr().err)
        assert [name for name in steps[1:-1].split(", ") if name not in fresh] == stale
        assert {path: fingerprint(path) for path in sorted(workspace.glob("*/*.[dp][cn][mg]"))} == before


def test_a_record_says_what_was_done_from_what(config_file, small_dataset, tmp_path):
    run_command(["index", "-c", str(config_file())])
    record = json.loads((tmp_path / "workspace" / "records" / "index.json").read_text())
    assert record["inputs"] == {str(tmp_path / "labels.csv"): fingerprint(tmp_path / "labels.csv")}
    assert record["versions"]["pydicom"]
    assert record["config"]["split"]["fractions"] == [0.5, 0.25, 0.25]


def test_a_folder_that_is_not_ours_is_left_alone(config_file, small_dataset, tmp_path, capfd):
    kept = tmp_path / "workspace" / "raw_png" / "thesis.docx"
    kept.parent.mkdir(parents=True)
    kept.write_text("years of work")
    assert run_command(["run", "-c", str(config_file())]) == 1
    assert "holds files that are not ours; choose a new folder" in capfd.readouterr().err
    assert kept.read_text() == "years of work"


def test_odd_names_and_damaged_leftovers_are_survived(config_file, small_dataset, tmp_path, capfd):
    config = str(config_file(workspace=f"'{tmp_path}/w [b] ü*'"))
    (tmp_path / "dicom" / f"{small_dataset[0]}.dcm").unlink()
    os.mkfifo(tmp_path / "dicom" / f"{small_dataset[0]}.dcm")  # reading it would wait for ever
    assert run_command(["run", "-c", config]) == 3
    workspace = tmp_path / "w [b] ü*"
    for damaged in (*workspace.glob("parts/*/*.parquet"), workspace / "records" / "sample.json"):
        damaged.write_bytes(b"cut off")
    assert run_command(["run", "-c", config]) == 3
    assert "Traceback" not in capfd.readouterr().err


def test_tables_that_were_shortened_or_edited_are_made_again(config_file, small_dataset, tmp_path, capfd):
    config = str(config_file(steps=PREPARATION[:-1] + ", augment]", augment="{target: 20}"))
    assert run_command(["run", "-c", config]) == 0
    for name in ("data_test", "data_train"):
        table = tmp_path / "workspace" / f"{name}.csv"
        before = table.read_bytes()
        lines = before.splitlines(keepends=True)
        table.write_bytes(b"".join(lines[: len(lines) // 2]))
        capfd.readouterr()
        assert run_command(["run", "-c", config]) == 0
        assert "preprocess: up to date" not in capfd.readouterr().err
        assert table.read_bytes() == before


def test_a_step_by_hand_does_not_build_on_other_settings(config_file, small_dataset, capfd):
    config = str(config_file(steps=PREPARATION[:-1] + ", augment]", augment="{target: 0}"))
    assert run_command(["run", "-c", config]) == 0
    assert run_command(["augment", "-c", config, "--preprocess.red.width", "200", "--preprocess.workers", "2"]) == 1
    assert "preprocess was run with preprocess.red.width 215.0, now 200.0; run it again" in capfd.readouterr().err
    assert run_command(["augment", "-c", config, "--preprocess.workers", "2", "--train.batch_size", "4"]) == 0
    assert run_command(["preprocess", "-c", config, "--seed", "1"]) == 1
    assert "split was run with seed 42, now 1" in capfd.readouterr().err


def test_a_step_by_hand_does_not_build_on_one_that_did_not_finish(config_file, small_dataset, tmp_path, capfd):
    config = str(config_file(steps=PREPARATION))
    assert run_command(["run", "-c", config]) == 0
    assert run_command(["split", "-c", config, "--split.folds", "200", "--split.fold", "0"]) == 1
    record = tmp_path / "workspace" / "records" / "split.json"
    for content, what in ((record.read_text(), "did not finish"), ("[", "has a damaged record")):
        record.write_text(content)
        capfd.readouterr()
        assert run_command(["preprocess", "-c", config]) == 1
        assert capfd.readouterr().err == f"ich: split {what}; run it again (`ich run` repeats all that is needed)\n"
    assert run_command(["run", "-c", config]) == 0
    assert run_command(["preprocess", "-c", config]) == 0


def test_two_commands_do_not_work_in_one_workspace(config_file, small_dataset, capfd):
    config = config_file()
    with claimed(load(config)):
        for command in ("run", "sample"):
            assert run_command([command, "-c", str(config)]) == 1
            error = capfd.readouterr().err
            assert f"another command works in workspace {load(config).workspace} (process {os.getpid()} on " in error
            assert error.count("\n") == 1
    assert run_command(["run", "-c", str(config)]) == 0


def test_what_killed_commands_were_writing_is_removed(config_file, small_dataset, tmp_path):
    kept, leftovers = [], []
    for folder in ("", "records", "models", "phantom", "runs/default"):
        where = tmp_path / "workspace" / folder
        where.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(KeyboardInterrupt), atomic(where / "table.csv"):
            leftovers.append(where / next(name for name in os.listdir(where) if name.startswith(".table")))  # noqa: PTH208
            shutil.copy(leftovers[-1], tmp_path / "held")
            raise KeyboardInterrupt
        shutil.copy(tmp_path / "held", leftovers[-1])
        kept += [where / "table.csv", where / ".editor.csv.swp"]
        for path in kept[-2:]:
            path.write_text("ours")
    assert run_command(["index", "-c", str(config_file())]) == 0
    assert not any(path.exists() for path in leftovers)
    assert all(path.read_text() == "ours" for path in kept)


def test_a_workspace_that_is_no_folder_and_a_record_that_is_none(config_file, small_dataset, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert run_command(["index", "-c", str(config_file()), "--workspace", str(tmp_path / "file")]) == 1
    assert "is not a folder; choose another" in capfd.readouterr().err
    config = str(config_file())
    assert run_command(["run", "-c", config]) == 0
    record = tmp_path / "workspace" / "records" / "split.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"outputs": None}))
    assert run_command(["run", "-c", config]) == 0
    assert json.loads(record.read_text())["outputs"]


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, ["--seed", "7"]),
        ({}, ["--split.fractions", "[0.4, 0.3, 0.3]"]),
        ({"steps": "[sample, copy, preprocess, split]", "sample": "{scope: all}"}, ["--sample.per_label", "2"]),
        (
            {"steps": "[sample, copy, preprocess, split]", "sample": "{scope: all}", "split": "{unit: slice}"},
            ["--sample.negatives", "9", "--sample.per_label", "8"],
        ),
    ],
    ids=["another seed", "other fractions", "fewer slices, notebooks' order", "fewer slices, by slice"],
)
def test_a_change_upstream_of_the_split_is_followed(config_file, small_dataset, tmp_path, settings, change):
    config = str(config_file(**settings))
    assert run_command(["run", "-c", config]) == 0
    assert run_command(["run", "-c", config, *change]) == 0
    fresh = [*change, "--workspace", str(tmp_path / "fresh")]
    assert run_command(["run", "-c", config, *fresh]) == 0
    for name in ("data_train", "data_val", "data_test"):
        there, expected = (tmp_path / folder / f"{name}.csv" for folder in ("workspace", "fresh"))
        assert there.read_bytes() == expected.read_bytes()
        names = [{path.name for path in table.with_suffix("").iterdir()} for table in (there, expected)]
        assert names[0] == names[1]


def test_labels_that_lose_patients_are_followed(config_file, small_dataset, tmp_path):
    config = str(config_file())
    assert run_command(["run", "-c", config]) == 0
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[: 1 + 6 * 40]) + "\n")  # two patients fewer
    for image_id in small_dataset[40:]:
        (tmp_path / "dicom" / f"{image_id}.dcm").unlink()
    assert run_command(["run", "-c", config]) == 0
    tables = [tmp_path / "workspace" / f"data_{split}.csv" for split in ("train", "val", "test")]
    assert sum(len(pl.read_csv(table)) for table in tables) == 40


def test_another_published_split_is_followed_and_a_moved_workspace_stands(config_file, small_dataset, tmp_path, capfd):
    config = str(config_file())
    assert run_command(["run", "-c", config]) == 0
    workspace = tmp_path / "workspace"
    outside, inside = tmp_path / "published.json", workspace / "published.json"
    for path in (outside, inside):
        path.write_bytes((workspace / "splits.json").read_bytes())

    def fresh(published, folder="workspace"):
        capfd.readouterr()
        where = ["--workspace", str(tmp_path / folder), "--split.published", str(published)]
        assert run_command(["run", "-c", config, *where]) == 0
        return re.findall(r"(\w+): up to date", capfd.readouterr().err)

    assert fresh(outside) == ["index"]
    assert len(fresh(outside)) == 5
    content = json.loads(outside.read_text())
    swap = {"val": "test", "test": "val", "train": "train"}
    content["assignment"] = {unit: swap[name] for unit, name in content["assignment"].items()}
    del content["assignment_sha256"]
    outside.write_text(json.dumps(content))
    assert fresh(outside) == ["index"]
    assert json.loads((workspace / "splits.json").read_text())["assignment"] == content["assignment"]
    assert fresh(inside) == ["index"]
    workspace.rename(tmp_path / "moved")
    assert len(fresh(tmp_path / "moved" / "published.json", "moved")) == 5
