"""Two devices, which XLA can make of one CPU, end a training as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ich import devices
from ich.card import read_card
from ich.errors import ConfigError
from ich.workspace import Workspace
from square_slices import load, squares_experiment, write_squares

PLAN = {
    "model": "modified-cascade",
    "phases": [{"name": "all", "epochs": 1, "learning_rate": 1e-3, "trainable": "all"}],
    "end_to_end": {"epochs": 0},
    "augmentation": {"horizontal_flip": 0.5, "rotate_degrees": 5, "shift": 0.05},
    "batch_size": 8,
    "accumulation": 2,
}
TRAIN = """
import json, sys
from pathlib import Path
from pytest import MonkeyPatch
from ich.models import backbones
from square_slices import squares_experiment, tiny_backbone
for name in backbones.DEMO:
    MonkeyPatch().setitem(backbones.DEMO, name, tiny_backbone)
from ich import devices
from ich.training.train import train
train(squares_experiment(Path(sys.argv[1]), **json.loads(sys.argv[2])))
print(devices.count())
"""


def trained(root: Path, count: int, plan: dict = PLAN) -> tuple[list[np.ndarray], dict]:
    write_squares(root, train=32, val=20)
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    command = [sys.executable, "-c", TRAIN, str(root), json.dumps(plan)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(count)]
    final = Workspace(squares_experiment(root, **plan)).final_model
    return load(final).get_weights(), read_card(final).training["stages"]


def test_two_devices_end_with_the_weights_of_one(tmp_path):
    (one, told), (two, told_too) = (trained(tmp_path / str(count), count) for count in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    losses = [[stage["val_loss"] for stage in each.values()] for each in (told, told_too)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_batch_that_cannot_be_shared_is_refused_with_one_that_can(monkeypatch):
    monkeypatch.setattr(devices, "count", lambda: 4)
    devices.refuse_unequal_shares(32)
    with pytest.raises(ConfigError, match=r"train\.batch_size is 30, which 4 devices .*; set it to 28 or 32"):
        devices.refuse_unequal_shares(30)
