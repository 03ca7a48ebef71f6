import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from conftest import make_labels, make_slice
from ich.cli import app, parse_overrides, run_command
from ich.errors import ConfigError
from ich.files import fingerprint
from ich.stages import STEPS


def ich(*arguments, cwd=None):
    """Run the installed command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "ich", *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=cwd
    )


def test_help_is_light_and_names_every_step():
    heavy = "{'keras', 'jax', 'cv2', 'polars', 'sklearn', 'matplotlib', 'pydicom'}"
    code = f"import sys, ich.cli\nassert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    result = ich("--help")
    assert result.returncode == 0
    for name in STEPS:
        assert re.search(rf"\b{name}\b", result.stdout)
        assert app[name].help


@pytest.mark.parametrize(
    ("damage", "command", "code", "message"),
    [
        (lambda root: (root / "labels.csv").write_text(""), "sample", 1, "is empty; it needs the columns ID,Label"),
        (lambda root: (root / "labels.csv").write_text("ID,Lable\nID_a_any,0\n"), "sample", 1, "no column Label"),
        (lambda root: (root / "labels.csv").unlink(), "sample", 1, "does not exist; set data.labels"),
        (lambda root: (root / "dicom").rename(root / "elsewhere"), "index", 1, "does not exist; set data.dicom"),
        (lambda root: None, "preprocess", 1, "data_sampled.csv does not exist; run the step that writes it"),
        (lambda root: None, "augment", 1, "data_train.csv"),
        (lambda root: None, "train", 1, "data_train.csv"),
        (lambda root: None, "evaluate", 1, "does not exist"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_line_and_code_1(
    config_file, small_dataset, tmp_path, capfd, damage, command, code, message
):
    damage(tmp_path)
    steps = "[sample, copy, preprocess, split, augment, train, evaluate]" if command != "index" else "[index]"
    config = config_file(steps=steps, sample="{scope: all}")
    assert run_command([command, "-c", str(config)]) == code
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-c", "CONFIG", "--splt.unit", "slice"], "unknown key splt; did you mean split"),
        (["run", "-c", "CONFIG", "--split.unit"], "--split.unit has no value"),
        (["run", "-c", "CONFIG", "stray"], "'stray' is not an option"),
        (["run", "-c", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["smaple", "-c", "CONFIG"], "sample"),
        (["run"], "--config"),
    ],
)
def test_a_wrong_command_line_gives_code_2(config_file, capfd, arguments, message):
    path = str(config_file())
    assert run_command([path if argument == "CONFIG" else argument for argument in arguments]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_quarantined_and_missing_files_give_code_3(config_file, small_dataset, tmp_path, capfd):
    (tmp_path / "dicom" / f"{small_dataset[0]}.dcm").write_text("not dicom")
    make_slice(tmp_path / "dicom" / f"{small_dataset[1]}.dcm", np.zeros((64, 64), np.int16), Modality="MR")
    content = (tmp_path / "dicom" / f"{small_dataset[2]}.dcm").read_bytes()
    (tmp_path / "dicom" / f"{small_dataset[2]}.dcm").write_bytes(content[:5000])
    (tmp_path / "dicom" / f"{small_dataset[3]}.dcm").unlink()
    config = str(config_file(split="{unit: slice}", sample="{scope: all}", steps="[sample, copy, preprocess, split]"))
    assert run_command(["run", "-c", config]) == 3
    error = capfd.readouterr().err
    for reason in ("not a DICOM file", "modality is MR, not CT", "pixel bytes", "no such file"):
        assert reason in error
    table = pl.read_parquet(tmp_path / "workspace" / "slices.parquet")
    assert table.filter(pl.col("status") != "ok")["ImageID"].to_list() == small_dataset[:4]
    assert run_command(["run", "-c", config]) == 3  # up to date, and still incomplete


def test_overrides():
    assert parse_overrides(("--a.b", "1", "--c=x y", "--d-e", "[1, 2]")) == {"a.b": "1", "c": "x y", "d_e": "[1, 2]"}
    with pytest.raises(ConfigError, match="--a has no value"):
        parse_overrides(("--a", "--b", "1"))


def test_config_command_prints_a_config_that_loads(config_file, tmp_path, capfd):
    assert run_command(["config", "-c", str(config_file()), "--seed", "7"]) == 0
    (tmp_path / "printed.yaml").write_text(capfd.readouterr().out)
    assert run_command(["config", "-c", str(tmp_path / "printed.yaml")]) == 0
    assert "seed: 7" in capfd.readouterr().out
    assert run_command(["config", "--explain"]) == 0
    assert "train.gate.max_missed" in capfd.readouterr().out


def test_info_tells_versions_and_disk_need(config_file, small_dataset, capfd):
    assert run_command(["info", "-c", str(config_file()), "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["versions"]["keras"].startswith("3.15")
    assert facts["disk need"].startswith("about")
    assert "cpu" in facts["devices"].lower() or "gpu" in facts["devices"].lower()


def many_slices(tmp_path, count):
    """`count` labelled slices that are links to one file."""
    one = make_slice(tmp_path / "one.dcm", np.arange(256 * 256, dtype=np.int16).reshape(256, 256) % 2000)
    (tmp_path / "dicom").mkdir()
    ids = [f"ID_{number:05x}" for number in range(count)]
    for image_id in ids:
        (tmp_path / "dicom" / f"{image_id}.dcm").symlink_to(one)
    make_labels(tmp_path / "labels.csv", {image_id: {"subdural": int(image_id[-1] == "1")} for image_id in ids})


def test_interrupted_preprocess_continues_to_the_same_result(config_file, tmp_path):
    many_slices(tmp_path, 4000)
    config = config_file(steps="[sample, copy, preprocess]", sample="{scope: all}", preprocess="{size: 64, workers: 2}")
    workspace = tmp_path / "workspace"
    process = subprocess.Popen(
        [sys.executable, "-m", "ich", "run", "-c", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list((workspace / "parts" / "preprocess").glob("[0-9]*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; run the same command again" in error
    assert "Traceback" not in error
    assert not (workspace / "slices.parquet").exists()

    assert ich("run", "-c", config).returncode == 0
    assert ich("run", "-c", config, "--workspace", tmp_path / "undisturbed").returncode == 0
    names = sorted(path.name for path in (tmp_path / "undisturbed" / "raw_png").iterdir())
    assert len(names) == 4000
    assert sorted(path.name for path in (workspace / "raw_png").iterdir()) == names
    assert fingerprint(workspace / "slices.parquet") == fingerprint(tmp_path / "undisturbed" / "slices.parquet")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 GiB")])
def test_out_of_memory_names_the_remedy(config_file, small_dataset, capfd, monkeypatch, error):
    def fails(_):
        raise error

    monkeypatch.setattr("ich.prepare.index.index", fails)
    assert run_command(["index", "-c", str(config_file())]) == 1
    assert "out of memory; in training halve train.batch_size" in capfd.readouterr().err


def test_a_reader_that_has_gone_gets_no_traceback(config_file):
    command = [sys.executable, "-m", "ich", "config", "--explain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.wait(timeout=60), process.stderr.read()) == (1, b"")


def test_full_disk(config_file, tmp_path, capfd):
    many_slices(tmp_path, 300)
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("no permission to mount a small tmpfs")
    try:
        noise = np.random.default_rng(0).integers(1000, 1100, (256, 256)).astype(np.int16)
        (tmp_path / "one.dcm").unlink()
        make_slice(tmp_path / "one.dcm", noise)
        config = config_file(
            steps="[sample, copy, preprocess]", sample="{scope: all}", preprocess="{size: 256, workers: 1}"
        )
        assert run_command(["run", "-c", str(config), "--workspace", str(small / "workspace")]) == 1
        error = capfd.readouterr().err
        assert "the disk is full while writing" in error
        assert "Traceback" not in error
        assert not (small / "workspace" / "slices.parquet").exists()
        images = list((small / "workspace" / "raw_png").glob("*.png"))
        assert len({fingerprint(path) for path in images}) <= 1  # every image that is there is whole
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_notebooks_plotting_backend_does_not_matter(config_file):
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # Colab's, for every command
    code = (
        "import sys; from ich.cli import run_command; run_command(sys.argv[1:]); import ich.evaluation.figures.curves"
    )
    command = [sys.executable, "-c", code, "config", "-c", str(config_file())]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"KERAS_BACKEND": "torch"}, "KERAS_BACKEND is torch, which is not installed"),
        ({"KERAS_BACKEND": "foo"}, "KERAS_BACKEND is foo, which is not installed"),
        ({"JAX_PLATFORMS": "bogus"}, "JAX_PLATFORMS is bogus, but there is no such device"),
    ],
)
def test_an_environment_that_asks_for_what_is_not_there(variables, message):
    command = [sys.executable, "-m", "ich", "info"]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr


def test_overrides_without_a_config_are_refused(capfd):
    for command in ("info", "config"):
        assert run_command([command, "--train.bathc", "3"]) == 2
        assert "--train.bathc replaces a value of a config file: name the file with -c" in capfd.readouterr().err
