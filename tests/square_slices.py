"""A toy problem, learnt in seconds: a bright square is a haemorrhage, its colour and place are the subtype."""

from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from ich.config import Experiment
from ich.config.read import validate
from ich.files import write_json
from ich.labels import LABELS, SUBTYPES
from ich.models import backbones
from ich.models.initialize import numpy_initializers

SIZE = 64
_PLACES = ((16, 16), (16, 48), (48, 16), (48, 48), (32, 32))
_COLOURS = ((250, 120, 120), (120, 250, 120), (120, 120, 250), (250, 250, 120), (120, 250, 250))


def write_squares(root: Path, **slices: int) -> None:
    """Write tables, PNG folders and splits.json: write_squares(root, train=80, val=40). Half are positive."""
    parts = {}
    for split, n in slices.items():
        folder = root / f"data_{split}"
        folder.mkdir(parents=True)
        labels = np.zeros((n, len(LABELS)), int)
        for i in range(n):
            image = np.random.default_rng((n, i)).integers(40, 90, (SIZE, SIZE, 3), dtype=np.uint8)
            if i % 2:
                kind = i // 2 % len(SUBTYPES)
                labels[i, [0, kind + 1]] = 1
                row, column = _PLACES[kind]
                image[row - 8 : row + 8, column - 8 : column + 8] = _COLOURS[kind]
            cv2.imwrite(str(folder / f"ID_{split}{i:04d}.png"), image[..., ::-1])
        rows = [f"ID_{split}{i:04d}," + ",".join(map(str, row)) for i, row in enumerate(labels)]
        (root / f"data_{split}.csv").write_text("\n".join([",".join(["ImageID", *LABELS]), *rows]) + "\n")
        counts = dict(zip(LABELS, labels.sum(axis=0).tolist(), strict=True))
        parts[split] = {"units": n, "slices": n, "counts": counts}
    write_json(root / "splits.json", {"unit": "patient", "splits": parts})


def tiny_backbone(shape: tuple[int, int, int]) -> keras.Model:
    """Two strided convolutions to 1/32 of the size: compiles in a fraction of the demo networks' time."""
    images = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 127.5, -1)(images)
    x = keras.layers.Conv2D(16, 8, strides=8)(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.ReLU()(x)
    return keras.Model(images, keras.layers.Conv2D(16, 4, strides=4, activation="relu")(x))


@pytest.fixture(scope="module")
def tiny_backbones():
    """The demo's backbones are `tiny_backbone`s."""
    with pytest.MonkeyPatch.context() as patch:
        for name in backbones.DEMO:
            patch.setitem(backbones.DEMO, name, tiny_backbone)
        yield


ALL = {"name": "all-layers", "epochs": 5, "learning_rate": 5e-3, "trainable": "all"}
STILL = {
    "horizontal_flip": 0,
    "rotate": 0,
    "shift": 0,
}  # flips and shifts would move a square to another subtype's place
HEADS = {"gate_units": 16, "subtype_units": 32, "attention_width": 16, "attention_heads": 2}


def squares_experiment(root: Path, **settings: Any) -> Experiment:
    """Training of small networks on `write_squares`, with other settings of `train`."""
    plan = {
        "model": "cascade",
        "backbones": {"efficientnet": "EfficientNetV2Demo", "convnext": "ConvNeXtDemo"},
        "weights": "none",
        "heads": HEADS,
        "augmentation": STILL,
        "phases": [ALL],
        "end_to_end": {"epochs": 0},
        "batch_size": 16,
    }
    data = {"labels": str(root / "labels.csv"), "dicom": str(root)}
    sections = {"preprocess": {"size": 64}, "augment": {"target": 0}, "train": plan | settings}
    return validate({"workspace": str(root), "data": data} | sections, "test")


def load(path: Path) -> keras.Model:
    """A saved network."""
    with numpy_initializers(0):
        return keras.models.load_model(path, compile=False)
