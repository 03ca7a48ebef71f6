"""What there is to work with: versions, devices, memory, and disk space against what an experiment needs."""

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from ich.config import Experiment, Train
from ich.label_file import labels_at_hand
from ich.labels import counts, read_long_labels
from ich.models.parameters import MILLIONS
from ich.sources import refuse_missing
from ich.workspace import Workspace, provenance

# Measured on RSNA slices: 512x512 16-bit DICOM, and 256-pixel PNG; the PNG grows with its area.
_DICOM_BYTES = 526_000
_PNG_BYTES_256 = 52_000


def collect(config: Experiment | None) -> dict[str, Any]:
    """Versions, devices, memory and disk; with a config, also the space that it needs."""
    import keras

    memory = psutil.virtual_memory()
    folder = config.workspace if config else Path()
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": provenance()["versions"],
        "backend": keras.backend.backend(),
        "devices": _devices(),
        "CPU cores": os.cpu_count(),
        "memory": f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free",
        "workspace": str(folder.resolve()),
        "disk free": f"{_free(folder) / 1e9:.1f} GB",
    }
    if config is not None:
        slices, training = disk_need(config), training_need(config.train) if "train" in config.steps else 0
        total, enough = slices + training, slices + training < _free(folder)
        parts = f"DICOM copies and images {slices / 1e9:.1f}, checkpoints and models {training / 1e9:.1f}"
        facts["disk need"] = f"about {total / 1e9:.1f} GB ({parts})" + ("" if enough else ": MORE THAN IS FREE")
    return facts


def disk_need(config: Experiment) -> int:
    """Bytes that DICOM copies and images will take in the workspace, estimated from label counts and measured sizes.

    Raises:
        DataError: the label CSV or the DICOM folder is missing or wrong.
    """
    workspace, phantoms = Workspace(config), "phantom" in config.steps
    if not phantoms:
        refuse_missing(workspace.originals)
    if phantoms and not workspace.label_csv.is_file():  # about as many as there will be; all of them may be used
        slices = config.phantom.patients * sum(config.phantom.slices) // 2
        used, copies = slices, slices
    else:
        with labels_at_hand(workspace) as path:
            labels, _ = read_long_labels(path)
        used = images_needed(counts(labels), len(labels), config)
        copies = len(labels) if phantoms else 0
    copies += used if config.copy_.mode == "copy" else 0
    image = _PNG_BYTES_256 * config.preprocess.size**2 // 256**2
    return used * image + copies * _DICOM_BYTES


def training_need(train: Train) -> int:
    """Bytes that checkpoints and models of a training take in the workspace, at most, but for the heads (some percent).

    A checkpoint holds, in float32, the network, Adam's two moments, averaged weights if there are any, and the best
    weights. Two are kept, and a third is written before the first goes; all go when the training is over. What is
    compiled, in `compiled/`, is not counted.
    """
    stages = _millions(train)
    checkpoints = 3 * (5 if train.ema else 4) * max(stages)
    models = sum(stages) + stages[-1] * (2 if train.save_h5 else 1)
    return round(4e6 * (checkpoints + models))


def _millions(train: Train) -> list[float]:
    """Parameters of each stage's backbones; the last stage has all, though it may be trained in no epoch."""
    efficientnet, convnext = MILLIONS[train.backbones.efficientnet], MILLIONS[train.backbones.convnext]
    if train.model in ("efficientnet", "convnext"):
        return [efficientnet if train.model == "efficientnet" else convnext]
    trunk = efficientnet if train.model == "cascade" else 0
    return [efficientnet, efficientnet + convnext, trunk + efficientnet + convnext]


def images_needed(positives: Mapping[str, int], slices: int, config: Experiment) -> int:
    """Images that steps 3 and 5 will write, as expected from the labels.

    Args:
        positives: of each label, among all labelled slices.
        slices: number of these.
        config: its sampling, split and augmentation.
    """
    how, share = config.sample, config.split.shares[0] if config.sample.scope == "train" else 1.0
    positive, negative = share * positives["any"], share * (slices - positives["any"])
    drawn = min(positive, 6 * how.per_label or positive) + min(negative, how.negatives or negative)
    if how.whole_series:  # at most
        drawn = share * slices
    training = {label: config.split.shares[0] * positives[label] for label in config.augment.labels}
    copies = [max(0.0, config.augment.target - positive) for positive in training.values() if positive]
    return round(drawn + (1 - share) * slices + (sum(copies) if "augment" in config.steps else 0))


def _free(folder: Path) -> int:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _devices() -> str:
    import keras

    return ", ".join(keras.distribution.list_devices()) or "none"
