"""What there is to work with: versions, devices, memory, and disk space against what an experiment needs."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

from ich.config import Experiment
from ich.errors import DataError
from ich.workspace import Workspace, provenance

# Measured on RSNA slices: 512x512 16-bit DICOM, and 256-pixel PNG; the PNG grows with its area.
_DICOM_BYTES = 526_000
_PNG_BYTES_256 = 45_000


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
        need = disk_need(config)
        facts["disk need"] = f"about {need / 1e9:.1f} GB" + ("" if need < _free(folder) else ": MORE THAN IS FREE")
    return facts


def disk_need(config: Experiment) -> int:
    """Bytes that the workspace will take, estimated from the number of slices and measured sizes.

    Slices are counted as the files of the DICOM folder, or as the most that sampling can draw, if that is fewer.
    """
    source = Workspace(config).dicom_source
    if not source.is_dir() and "phantom" not in config.steps:
        raise DataError(f"DICOM folder {source} does not exist; set data.dicom to the folder of the .dcm files")
    slices = sum(1 for entry in os.scandir(source) if entry.name.endswith(".dcm")) if source.is_dir() else 0
    if "phantom" in config.steps and not slices:
        slices = config.phantom.patients * sum(config.phantom.slices) // 2
    if config.sample.scope == "all" and config.sample.per_label and config.sample.negatives:
        slices = min(slices, 6 * config.sample.per_label + config.sample.negatives)
    png = slices * _PNG_BYTES_256 * config.preprocess.size**2 // 256**2
    copies = slices * _DICOM_BYTES * ((config.copy_.mode == "copy") + ("phantom" in config.steps))
    return png + copies


def _free(folder: Path) -> int:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _devices() -> str:
    import keras

    return ", ".join(keras.distribution.list_devices()) or "none"
