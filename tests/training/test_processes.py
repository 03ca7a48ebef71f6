"""Two devices, and two real processes on loopback, train as one does; if a process ends, so does the other."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ich.card import read_card
from ich.errors import ConfigError
from ich.training.processes import Place
from ich.training.train import train
from ich.workspace import Workspace
from square_slices import load, squares_experiment, tiny_backbones, write_squares

__all__ = ["tiny_backbones"]

PLAN = {
    "phases": [{"name": "all", "epochs": 2, "learning_rate": 1e-3, "trainable": "all"}],
    "augmentation": {"horizontal_flip": 0.5, "rotate_degrees": 5, "shift": 0.05, "mixup": 0.2},
    "batch_size": 8,
    "accumulation": 2,
}
# `ich`, with the tests' small backbones; arguments say after how many epochs of a stage it gets a signal, and which.
ICH = """
import os, sys
from pytest import MonkeyPatch
from ich.cli import run_command
from ich.models import backbones
from ich.training import fit
from square_slices import tiny_backbone
patch = MonkeyPatch()
for name in backbones.DEMO:
    patch.setitem(backbones.DEMO, name, tiny_backbone)
stops_after, number, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
whole = fit.after_epoch
def after_epoch(stage_fit, index, epoch, *rest):
    whole(stage_fit, index, epoch, *rest)
    if epoch == stops_after:
        os.kill(os.getpid(), number)
patch.setattr(fit, "after_epoch", after_epoch)
sys.exit(run_command(arguments))
"""


@pytest.fixture(scope="module", params=["efficientnet", pytest.param("modified-cascade", marks=pytest.mark.soak)])
def alone(request, tmp_path_factory, tiny_backbones) -> tuple[dict, list[np.ndarray], list[float]]:
    """The plan, and the results of one process with one device."""
    root, plan = tmp_path_factory.mktemp("alone"), {"model": request.param} | PLAN
    write_squares(root, train=32, val=20)
    train(squares_experiment(root, **plan))
    return plan, *results(root, plan)


@pytest.fixture
def start():
    """Start `ich train` in processes of their own; what is left of them at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(
        root: Path, plan: dict, processes: int = 1, stopped: tuple[int, int] | None = None, **environment: str
    ) -> list[subprocess.Popen[str]]:
        config = root / "experiment.yaml"
        config.write_text(yaml.safe_dump(squares_experiment(root, **plan).model_dump(mode="json", by_alias=True)))
        (root / "records").mkdir(exist_ok=True)
        paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        coordinator = f"127.0.0.1:{free_port()}"
        for number in range(processes):
            victim, kind = stopped or (-1, 0)
            command = [
                sys.executable,
                "-c",
                ICH,
                str(int(number == victim)),
                str(int(kind)),
                "train",
                "-c",
                str(config),
            ]
            if processes > 1:
                command += ["--coordinator", coordinator, "--num-processes", str(processes)]
                command += ["--process-id", str(number)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen(command, env=os.environ | environment | {"PYTHONPATH": paths}, **pipes))
        return started[-processes:]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def results(root: Path, plan: dict) -> tuple[list[np.ndarray], list[float]]:
    final = Workspace(squares_experiment(root, **plan)).final_model
    return load(final).get_weights(), [stage["val_loss"] for stage in read_card(final).training["stages"].values()]


def assert_as_alone(root: Path, alone: tuple[dict, list[np.ndarray], list[float]]) -> None:
    plan, weights, losses = alone
    shared_weights, shared_losses = results(root, plan)
    for a, b in zip(weights, shared_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert losses == pytest.approx(shared_losses, rel=1e-4)


def test_two_devices_end_as_one_does(tmp_path, start, alone):
    write_squares(tmp_path, train=32, val=20)
    (process,) = start(tmp_path, alone[0], XLA_FLAGS="--xla_force_host_platform_device_count=2")
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 0, told
    assert_as_alone(tmp_path, alone)


@pytest.mark.parametrize(
    ("victim", "kind", "code"),
    [
        (1, signal.SIGKILL, -9),
        pytest.param(0, signal.SIGKILL, -9, marks=pytest.mark.soak),
        pytest.param(1, signal.SIGTERM, 130, marks=pytest.mark.soak),
    ],
)
def test_two_processes_end_as_one_does_and_go_on_after_one_was_stopped(tmp_path, start, alone, victim, kind, code):
    plan = alone[0]
    write_squares(tmp_path, train=32, val=20)
    both = start(tmp_path, plan, 2, stopped=(victim, kind))
    assert both[victim].wait(300) == code
    survivor = both[1 - victim]
    told = survivor.communicate(timeout=120)[1]
    if victim:
        assert survivor.returncode == 1
        assert "ich: the exchange with the other processes failed" in told
        assert "start all of them again" in told
    else:  # JAX may be faster, and end the process
        assert survivor.returncode in (1, -6)
        assert "exchange with the other processes failed" in told or "another task died" in told

    first, second = start(tmp_path, plan, 2)
    told, told_too = (process.communicate(timeout=300)[1] for process in (first, second))
    assert (first.returncode, second.returncode) == (0, 0), (told, told_too)
    assert "goes on after epoch 1, from its checkpoint" in told
    assert "epoch" not in told_too
    assert_as_alone(tmp_path, alone)
    record = json.loads((tmp_path / "records" / "train.json").read_text())
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
