"""`ich status`: what is stale and why, what became of every slice, and the life of one in each fate."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from conftest import PREPARATION
from ich.claim import claimed
from ich.cli import run_command
from ich.config.read import load
from ich.files import write_parquet
from ich.labels import LABELS

STEPS = PREPARATION[:-1] + ", augment]"


@pytest.fixture
def prepared(config_file, planted_dataset):
    config = str(config_file(steps=STEPS, augment="{target: 20}", copy="{mode: copy}"))
    assert run_command(["run", "-c", config]) == 3
    return config


@pytest.fixture
def status(prepared, capfd):
    def ask(*arguments, code=0):
        capfd.readouterr()
        assert run_command(["status", "-c", prepared, "--json", *arguments]) == code
        return json.loads(capfd.readouterr().out)

    return ask


def test_ledgers_add_up_and_steps_say_why_they_are_stale(status, small_dataset, tmp_path):
    facts = status()
    index, slices = (facts["ledgers"][name] for name in ("index.parquet", "slices.parquet"))
    assert (index["seen"], index["statuses"]) == (48, {"ok": 47, "repaired": 0, "quarantined": 0, "missing": 1})
    assert (slices["seen"], slices["statuses"]) == (47, {"ok": 45, "repaired": 1, "quarantined": 1, "missing": 0})
    assert slices["repairs"] == {"twelve_bit_wrap": 1}
    assert [(each["status"], each["slices"], each["examples"]) for each in slices["reasons"]] == [
        ("quarantined", 1, [small_dataset[1]])
    ]
    left_out = "left something out"
    stale = {step["step"]: step["stale"] for step in facts["steps"]}
    assert stale == dict.fromkeys(("split", "sample", "copy", "augment")) | {"index": left_out, "preprocess": left_out}

    (tmp_path / "workspace" / "missing_files.csv").unlink()
    (tmp_path / "workspace" / "records" / "sample.json").write_text("{}")
    stale = {step["step"]: step["stale"] for step in status("--augment.target", "21")["steps"]}
    assert stale["sample"] == "its record is damaged"
    assert stale["copy"] == "sample wrote something else since, or did not finish"
    assert stale["augment"] == "settings changed: augment.target 20, now 21"


def test_nothing_is_written_and_no_lock_is_needed(config_file, tmp_path, capfd):
    assert run_command(["status", "-c", str(config_file())]) == 0
    assert capfd.readouterr().out.count("never run") == 5
    assert not (tmp_path / "workspace").exists()


def test_it_says_who_works_here_and_how_far(status, prepared, tmp_path, capfd):
    assert status()["works_here"] is None
    (tmp_path / "workspace" / "records" / "preprocess.json").write_text('{"finished": false}')  # as while it runs
    with claimed(load(Path(prepared))):
        facts = status()
        assert run_command(["status", "-c", prepared]) == 0
    assert facts["works_here"].startswith(f"process {os.getpid()} on ")
    assert {step["step"]: step["chunks"] for step in facts["steps"] if step["chunks"]} == {"preprocess": 1}
    printed = " ".join(capfd.readouterr().out.split())
    assert f"process {os.getpid()} on " in printed
    assert "did not finish (finished chunks: 1)" in printed


def test_edited_tables_pipes_and_other_terminals_are_one_line(prepared, small_dataset, tmp_path, capfd):
    workspace = tmp_path / "workspace"
    table, record = workspace / "data_sampled.csv", workspace / "records" / "sample.json"
    content = table.read_text()
    for odd in (content.replace("any", "anny"), content.replace(",0", ",x")):
        table.write_text(odd)
        assert run_command(["status", "-c", prepared, "--file", small_dataset[9]]) == 1
        assert re.fullmatch(r"ich: .* is not as it was written .*\n", capfd.readouterr().err)
    for path in (table, record):
        path.unlink()
        os.mkfifo(path)  # to be read is to wait for whoever writes
        assert run_command(["status", "-c", prepared]) == 0
    assert "its record is damaged" in " ".join(capfd.readouterr().out.split())
    command = [sys.executable, "-m", "ich", "status", "-c", prepared, "--workspace", str(tmp_path / "typo")]
    printed = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, text=True)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert "this folder does not exist yet" in printed.stdout


def test_a_command_that_begins_while_another_is_asked_for_its_state_is_not_refused(prepared, monkeypatch):
    attempts = []

    def busy_once(lock, how):
        attempts.append(how)
        if len(attempts) == 1:
            raise BlockingIOError

    monkeypatch.setattr("ich.claim.fcntl.flock", busy_once)
    with claimed(load(Path(prepared))):
        assert len(attempts) == 2


@pytest.mark.parametrize("damage", [lambda rows: rows[1:], lambda rows: pl.concat([rows[:-1], rows[:1]]),
                                    lambda rows: rows.with_columns(status=pl.lit("lost"))])  # fmt: skip
def test_a_ledger_that_does_not_add_up_gives_code_1(prepared, tmp_path, capfd, damage):
    path = tmp_path / "workspace" / "slices.parquet"
    write_parquet(path, damage(pl.read_parquet(path)))
    capfd.readouterr()
    assert run_command(["status", "-c", prepared]) == 1
    printed = capfd.readouterr()
    assert "adds up: 48 = 47 ok + 0 repaired + 0 quarantined + 1 missing" in printed.out
    assert "the ledger of preprocess does not add up: 47 slices seen" in printed.err
    assert printed.err.count("\n") == 1


def test_life_of_a_slice_in_each_fate(status, prepared, small_dataset, tmp_path):
    missing, truncated, wrapped, plain = (status("--file", image_id) for image_id in small_dataset[:4])
    assert missing["labels"]["source"] == "labels.csv"
    assert set(missing["labels"]["values"].values()) == {0}
    assert (missing["index"]["status"], missing["index"]["reason"]) == ("missing", "no such file")
    assert "unknown" in missing["split"]
    assert missing["sample"]["sampled"] is False
    shutil.copy(tmp_path / "dicom" / f"{small_dataset[3]}.dcm", tmp_path / "dicom" / "ID_unlabelled.dcm")
    assert run_command(["index", "-c", prepared]) == 3
    unlabelled = status("--file", "ID_unlabelled")
    assert unlabelled["index"]["patient"] == plain["index"]["patient"]
    where = f"in no split: it has no labels (its patient is in {plain['split']['split']})"
    assert unlabelled["split"] == {"unknown": where}

    assert truncated["preprocess"]["status"] == "quarantined"
    assert "pixel bytes" in truncated["preprocess"]["reason"]
    assert truncated["preprocess"]["png"] is None
    assert "unknown" in truncated["tables"]

    assert (wrapped["preprocess"]["status"], wrapped["preprocess"]["repairs"]) == ("repaired", ["twelve_bit_wrap"])
    assert (wrapped["preprocess"]["hu_min"], wrapped["preprocess"]["hu_max"]) == (-1000, 40)
    # second of three: the one at 0 mm is missing, so 5, 10 and 15 mm are left
    assert (wrapped["index"]["place"], wrapped["index"]["slices_in_series"]) == (2, 3)
    assert (wrapped["index"]["position_mm"], wrapped["index"]["slice_spacing_mm"]) == (10, 5)

    table = f"data_{plain['split']['split']}.csv"
    assert plain["tables"] == {"tables": [table]}
    assert plain["preprocess"]["png_is"] == "as written"
    (tmp_path / "workspace" / "raw_png" / f"{small_dataset[3]}.png").write_bytes(b"painted over")
    assert status("--file", small_dataset[3])["preprocess"]["png_is"] == "changed"


def test_a_slice_is_found_by_file_path_and_augmented_image(status, small_dataset, prepared, tmp_path, capfd):
    rows = pl.read_csv(tmp_path / "workspace" / "data_train.csv")["ImageID"].to_list()
    copy = next(name for name in rows if "_aug_" in name)
    found = status("--file", f"data_train/{copy}.png")
    assert (found["image_id"], found["augmented"]) == (copy.partition("_aug_")[0], copy)
    assert found["augment"]["copies"] == [name for name in rows if name.startswith(f"{found['image_id']}_aug_")]
    assert status("--file", f"/elsewhere/{small_dataset[5]}.dcm")["image_id"] == small_dataset[5]
    for name in (*small_dataset[:4], copy):
        assert run_command(["status", "-c", prepared, "--file", name]) == 0
    printed = capfd.readouterr().out
    assert "repaired: twelve_bit_wrap" in printed
    assert f"the original of {copy}" in printed


def test_predictions_and_decisions_of_a_slice(status, small_dataset, prepared, tmp_path, capfd):
    run = tmp_path / "workspace" / "runs" / "default"
    row = {"split": "test", "ImageID": small_dataset[3], "gated_in": True}
    row |= {f"calibrated_{label}": 0.5 for label in LABELS} | {"calibrated_any": 0.75}
    (run / "report").mkdir(parents=True)
    pl.DataFrame([row]).write_parquet(run / "predictions.parquet")
    assert status("--file", small_dataset[3])["predict"]["decisions"] is None
    thresholds = {label: {"value": 0.6} for label in LABELS} | {"subdural": {"value": 0.5}}
    (run / "report" / "metrics.json").write_text(json.dumps({"thresholds": {"slice": thresholds}}))
    found = status("--file", small_dataset[3])["predict"]
    assert [label for label, positive in found["decisions"].items() if positive] == ["any", "subdural"]
    assert run_command(["status", "-c", prepared, "--file", small_dataset[3]]) == 0
    assert "any 0.750, called positive" in capfd.readouterr().out


@pytest.mark.parametrize(("name", "message"), [("ID_0000000009", "near it: ID_000000000"),
                                               ("ID_000000003_aug_999", "augment made no such copy")])  # fmt: skip
def test_an_unknown_slice_is_an_error_that_says_where_it_was_looked_for(prepared, capfd, name, message):
    capfd.readouterr()
    assert run_command(["status", "-c", prepared, "--file", name]) == 1
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "labels.csv" in error or "data_train.csv" in error
