"""Two real processes on loopback train as one does; where one ends, so does the other, and both can go on."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from ich.card import read_card
from ich.errors import ConfigError
from ich.training.processes import Place
from ich.workspace import Workspace
from square_slices import load, squares_experiment, write_squares

PLAN = {
    "model": "modified-cascade",
    "phases": [{"name": "all", "epochs": 2, "learning_rate": 1e-3, "trainable": "all"}],
    "end_to_end": {"epochs": 0},
    "augmentation": {"horizontal_flip": 0.5, "rotate_degrees": 5, "shift": 0.05, "mixup": 0.2},
    "batch_size": 8,
    "accumulation": 2,
}
# `ich`, with the tests' small backbones; an argument says after how many epochs of a stage it is killed.
ICH = """
import os, signal, sys
from pytest import MonkeyPatch
from ich.cli import run_command
from ich.models import backbones
from ich.training import fit
from square_slices import tiny_backbone
patch = MonkeyPatch()
for name in backbones.DEMO:
    patch.setitem(backbones.DEMO, name, tiny_backbone)
dies_after, arguments = int(sys.argv[1]), sys.argv[2:]
whole = fit.after_epoch
def after_epoch(stage_fit, index, epoch, *rest):
    whole(stage_fit, index, epoch, *rest)
    if epoch == dies_after:
        os.kill(os.getpid(), signal.SIGKILL)
patch.setattr(fit, "after_epoch", after_epoch)
sys.exit(run_command(arguments))
"""


@pytest.fixture
def start(tmp_path):
    """Start `ich train` in processes of their own; what is left of them at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(root: Path, processes: int = 1, dies: dict[int, int] | None = None) -> list[subprocess.Popen[str]]:
        config = root / "experiment.yaml"
        config.write_text(yaml.safe_dump(squares_experiment(root, **PLAN).model_dump(mode="json", by_alias=True)))
        (root / "records").mkdir(exist_ok=True)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
        port = free_port()
        for number in range(processes):
            command = [sys.executable, "-c", ICH, str((dies or {}).get(number, 0)), "train", "-c", str(config)]
            if processes > 1:
                command += ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(processes)]
                command += ["--process-id", str(number)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-processes:]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def results(root: Path) -> tuple[list[np.ndarray], list[float]]:
    final = Workspace(squares_experiment(root, **PLAN)).final_model
    return load(final).get_weights(), [stage["val_loss"] for stage in read_card(final).training["stages"].values()]


def test_two_processes_end_as_one_does_and_go_on_after_one_was_killed(tmp_path, start):
    alone, together = (tmp_path / name for name in ("alone", "together"))
    for root in (alone, together):
        write_squares(root, train=32, val=20)
    (one,) = start(alone)
    assert one.wait(300) == 0, one.communicate()

    first, second = start(together, 2, dies={1: 1})
    assert second.wait(300) == -9
    began = time.monotonic()
    told = first.communicate(timeout=120)[1]
    assert time.monotonic() - began < 60
    assert first.returncode == 1
    assert "ich: another process of this training ended" in told
    assert "start all of them again" in told

    first, second = start(together, 2)
    told, told_too = (process.communicate(timeout=300)[1] for process in (first, second))
    assert (first.returncode, second.returncode) == (0, 0), (told, told_too)
    assert "gate: goes on after epoch 1, from its checkpoint" in told
    assert "epoch" not in told_too
    (weights, losses), (shared_weights, shared_losses) = results(alone), results(together)
    for a, b in zip(weights, shared_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert losses == pytest.approx(shared_losses, rel=1e-4)
    record = json.loads((together / "records" / "train.json").read_text())
    assert record["counts"]["training slices"] == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("node1:1234", 2, None), "--process-id is missing"),
        (("node1", 2, 0), "--coordinator is node1; it must be HOST:PORT"),
        (("node1:0", 2, 0), "must be HOST:PORT"),
        (("node1:1234", 2, 2), "--process-id is 2 of --num-processes 2; the processes are numbered from 0 to 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Place.of(*options)
