"""How long a training takes, as far as it has been measured: in this run's own history, or in measured.json.

No figure is derived for a device, image size, precision or batch size that nobody has measured.
"""

import csv
import json
from pathlib import Path
from statistics import median
from typing import Any

import keras

from ich.config import Experiment
from ich.errors import DataError
from ich.files import read_json
from ich.models.build import Trainable, backbones
from ich.models.cascade import CONVNEXT
from ich.workspace import Workspace

_MEASURED: dict[str, Any] = json.loads(Path(__file__).with_name("measured.json").read_text(encoding="utf-8"))


def seconds_an_epoch(config: Experiment, stage: str, phase: str) -> float | None:
    """Median of the epochs that the run's folder tells of, if these had the same settings; with validation."""
    run = Workspace(config).run
    try:
        before = read_json(run / "config.json")
        now = config.model_dump(mode="json", by_alias=True)
        if not all(before[section] == now[section] for section in ("train", "preprocess")):
            return None
        with (run / "history.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if (row["stage"], row["phase"]) == (stage, phase)]
        return median(float(row["seconds"]) for row in rows) if rows else None
    except (DataError, OSError, LookupError, TypeError, ValueError):
        return None


def why_unknown(config: Experiment, device: str, precision: str, batch_size: int) -> str | None:
    """Why measured.json says nothing about this training; None if it does."""
    train, known = config.train, _MEASURED
    unlike = [
        f"{name} {now}"
        for name, now, is_same in (
            ("device", device, known["device"] in device),
            ("preprocess.size", config.preprocess.size, config.preprocess.size == known["size"]),
            ("precision", precision, precision == known["precision"]),
            ("batch size", batch_size, batch_size == known["batch_size"]),
            ("train.recompute", "true", not train.recompute),
            *(("backbone", name, name in known["images_per_s"]) for name in train.used_backbones),
        )
        if not is_same
    ]
    if not unlike:
        return None
    return (
        f"no estimate: {', '.join(unlike)} not measured (one {known['device']}, {known['size']} px, "
        f"{known['precision']}, batch {known['batch_size']} is)"
    )


def images_per_s(config: Experiment, network: keras.Model, which: Trainable) -> tuple[float, float]:
    """Between which speeds `network` trains where measured.json applies, the slower first.

    The backbones' times are added up, and the heads' left out. A frozen backbone is as fast as in inference; one of
    which only the last stage learns is somewhere between that and training all of it.
    """
    slow = fast = 0.0
    for backbone in backbones(network):
        names = config.train.backbones
        rates = _MEASURED["images_per_s"][names.convnext if backbone.name == CONVNEXT else names.efficientnet]
        slow += 1 / rates["train" if backbone.trainable else "infer"]
        fast += 1 / rates["train" if backbone.trainable and which == "all" else "infer"]
    return 1 / slow, 1 / fast


def validated_per_s(config: Experiment, network: keras.Model) -> float:
    """Speed of validation where measured.json applies."""
    names = config.train.backbones
    used = [names.convnext if each.name == CONVNEXT else names.efficientnet for each in backbones(network)]
    return 1 / sum(1 / float(_MEASURED["images_per_s"][name]["infer"]) for name in used)
