"""kill -9 at any moment of a training: run again, it ends with the bits of one that was never killed."""

import csv
import random
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from runs import run, start

from ich.card import read_card
from ich.config.read import load
from ich.workspace import Workspace
from square_slices import load as load_network
from square_slices import squares_experiment, write_squares

pytestmark = pytest.mark.soak

KILLS = 25
PLAN = {
    "phases": [
        {"name": "heads", "epochs": 3, "learning_rate": 5e-3, "trainable": "heads"},
        {"name": "all", "epochs": 4, "learning_rate": 1e-3, "trainable": "all"},
    ],
    "end_to_end": {"epochs": 3, "learning_rate": 1e-4},
    "plateau": {"factor": 0.5, "patience": 1},
    "early_stopping": {"patience": 3},
    "augmentation": {"horizontal_flip": 0.5, "rotate_degrees": 5, "shift": 0.05},
    "backbones": {"efficientnet": "EfficientNetV2Demo", "convnext": "ConvNeXtDemo"},
    "model": "modified-cascade",
}


def prepared(root: Path) -> list[str]:
    write_squares(root, train=96, val=40)
    (root / "records").mkdir()  # so that it is a workspace of ours
    config = squares_experiment(root, **PLAN)
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)))
    return ["train", "-c", str(path)]


def results(root: Path) -> tuple[object, list[np.ndarray]]:
    workspace = Workspace(load(root / "config.yaml"))
    rows = list(csv.DictReader((workspace.run / "history.csv").read_text().splitlines()))
    told = [{name: row[name] for name in row if name not in ("seconds", "images_per_s", "waiting")} for row in rows]
    card = read_card(workspace.final_model)
    weights = [w for path in sorted(workspace.models.glob("*.keras")) for w in load_network(path).get_weights()]
    return (told, card.training["stages"], card.gate), weights


def test_a_training_that_is_killed_again_and_again(tmp_path, monkeypatch):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")}
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    code, said, seconds = run(prepared(calm), tmp_path, **cache)
    assert code == 0, said
    expected = results(calm)
    arguments, rng, kills = prepared(killed), random.Random(1), 0
    while kills < KILLS:
        command = start(arguments, tmp_path, **cache)
        until = time.monotonic() + rng.uniform(1, seconds / 3)
        while time.monotonic() < until and command.process.poll() is None:
            time.sleep(0.05)
        if not command.kill():
            break  # it had ended: so many kills it took
        kills += 1
    code, said, _ = run(arguments, tmp_path, **cache)
    assert code == 0, said
    assert kills > 5
    found = results(killed)
    assert found[0] == expected[0]
    assert all(np.array_equal(a, b) for a, b in zip(found[1], expected[1], strict=True))
    assert not [path for path in killed.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
