"""Shared fixtures: hand-made DICOM slices, small experiments, and where real data is."""

import atexit
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before ich: one cache of compiled networks for all tests of a run, where each of their workspaces would have its own.
# The first process makes it, and xdist's others inherit it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="ich-tests-jax-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# Networks of the tests are compiled once and run for seconds: what optimizing their programs takes never comes back.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ich.config import Experiment
from ich.config.read import validate
from ich.labels import LABELS
from ich.stages import run_step

# RSNA's UIDs are invalid on purpose; pydicom would warn of each as it is set.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE

# Files that train networks take longest, and begin first, so that no core waits for the other at the end.
LONGEST = (
    "test_end_to_end.py", "test_resume.py", "test_fit.py", "test_networks.py", "test_processes.py",
    "test_fast_layers.py", "test_several_models.py", "test_plan.py", "test_memory.py", "test_cli.py",
    "test_ray_cluster.py",
)  # fmt: skip

PREPARATION = "[index, split, sample, copy, preprocess]"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in that order; the order within each stays."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def make_slice(path: Path, stored_values: NDArray[np.integer], **tags: Any) -> Path:
    """Write one CT slice with RSNA-like headers; a tag given as None is left out."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    signed = np.issubdtype(stored_values.dtype, np.signedinteger)
    defaults = {
        "Modality": "CT",
        "PatientID": "ID_00000001",
        "StudyInstanceUID": "ID_0000000001",
        "SeriesInstanceUID": "ID_0000000002",
        "SOPInstanceUID": path.stem,
        "ImagePositionPatient": [-125.0, -125.0, 0.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.488, 0.488],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored_values.shape[0],
        "Columns": stored_values.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16 if signed else 12,
        "HighBit": 15 if signed else 11,
        "PixelRepresentation": int(signed),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": stored_values.astype("<i2" if signed else "<u2").tobytes(),
    }
    for keyword, value in (defaults | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def make_labels(
    path: Path, labels: dict[str, dict[str, int]], order: tuple[str, ...] = (*LABELS[1:], LABELS[0])
) -> Path:
    """Write a long label CSV; labels that are not given are 0, and `any` is their OR."""
    lines = ["ID,Label"]
    for image_id, positives in labels.items():
        values = dict.fromkeys(LABELS, 0) | positives
        values["any"] = max(values.values())
        lines += [f"{image_id}_{label},{values[label]}" for label in order]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def dicom_slice(tmp_path: Path) -> Callable[..., Path]:
    """Write a slice under a name in the test's folder: dicom_slice("ID_1", stored_values, **tags)."""
    return lambda name, stored_values, **tags: make_slice(tmp_path / f"{name}.dcm", stored_values, **tags)


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Experiment]:
    """A config whose input and workspace are in the test's folder: experiment(split={"unit": "slice"}, ...)."""

    def build(**sections: Any) -> Experiment:
        tree = {
            "workspace": str(tmp_path / "workspace"),
            "data": {"labels": str(tmp_path / "labels.csv"), "dicom": str(tmp_path / "dicom")},
            "preprocess": {"size": 64, "workers": 1},
        }
        return validate(tree | sections, "test")

    return build


@pytest.fixture
def config_file(tmp_path):
    """A config over the test's own labels.csv and dicom/."""

    def write(**lines):
        content = {
            "workspace": tmp_path / "workspace",
            "steps": PREPARATION,
            "data": f"{{labels: {tmp_path / 'labels.csv'}, dicom: {tmp_path / 'dicom'}}}",
            "preprocess": "{size: 64, workers: 1}",
            "split": "{fractions: [0.5, 0.25, 0.25]}",
        } | lines
        path = tmp_path / "config.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in content.items()))
        return path

    return write


@pytest.fixture
def small_dataset(tmp_path: Path) -> list[str]:
    """Twelve patients with four slices each, in RSNA layout: labels.csv and dicom/. Returns the image ids, sorted."""
    ids, labels = [], {}
    rng = np.random.default_rng(0)
    for patient in range(12):
        for place in range(4):
            image_id = f"ID_{patient:04x}{place:05x}"
            stored_values = rng.integers(900, 1100, (64, 64)).astype(np.int16)
            make_slice(
                tmp_path / "dicom" / f"{image_id}.dcm", stored_values, PatientID=f"ID_{patient:08x}",
                SeriesInstanceUID=f"ID_{patient:010x}", ImagePositionPatient=[0, 0, 5.0 * place],
            )  # fmt: skip
            ids.append(image_id)
            labels[image_id] = {
                "subdural": int(patient % 2 and place > 1),
                "epidural": int(patient in (2, 4, 6) and place > 2),
            }
    make_labels(tmp_path / "labels.csv", labels)
    return ids


@pytest.fixture
def planted_dataset(small_dataset: list[str], tmp_path: Path) -> list[str]:
    """`small_dataset`, of which the first slice is missing, the second cut off and the third wrapped past 4095."""
    missing, truncated, wrapped = (tmp_path / "dicom" / f"{image_id}.dcm" for image_id in small_dataset[:3])
    missing.unlink()
    truncated.write_bytes(truncated.read_bytes()[:5000])
    stored_values = np.full((64, 64), 40, np.uint16)
    stored_values[:32] = 3096  # air of -1000 HU, as wrapped files hold it
    make_slice(
        wrapped, stored_values, PatientID="ID_00000000", SeriesInstanceUID="ID_0000000000", RescaleIntercept=0,
        ImagePositionPatient=[0, 0, 10.0],
    )  # fmt: skip
    return small_dataset


@pytest.fixture
def prepared_from(experiment: Callable[..., Experiment], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What preparation makes of slices that are elsewhere: images, and ledgers without the paths of the slices."""

    def prepare(dicom: Any, labels: str | None = None, mode: str = "none") -> dict[str, Any]:
        workspace = tmp_path / f"from {len(list(tmp_path.glob('from *')))}"
        config = experiment(
            workspace=str(workspace), copy={"mode": mode}, sample={"scope": "all"},
            data={"labels": labels or str(tmp_path / "labels.csv"), "dicom": dicom},
            steps=["index", "sample", "copy", "preprocess"],
        )  # fmt: skip
        for name in config.steps:
            run_step(name, config)
        ledgers = {name: pl.read_parquet(workspace / f"{name}.parquet").drop("path") for name in ("index", "slices")}
        images = {path.name: path.read_bytes() for path in (workspace / "raw_png").iterdir()}
        return {name: table.rows() for name, table in ledgers.items()} | {"images": images}

    return prepare


@pytest.fixture(scope="session")
def realdata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of real CT slices: what ICH_REALDATA names, or ../shared/realdata.tar.xz unpacked."""
    if folder := os.environ.get("ICH_REALDATA"):
        return Path(folder)
    archive = Path(__file__).parents[2] / "shared" / "realdata.tar.xz"
    if not archive.is_file():
        pytest.skip("no real CT slices: ICH_REALDATA names no folder, and there is no ../shared/realdata.tar.xz")
    unpacked = tmp_path_factory.mktemp("real")
    with tarfile.open(archive) as content:
        content.extractall(unpacked, filter="data")
    return unpacked / "realdata"


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """One small figure in the place of a report's figures, which take seconds, where a test is not about them.

    `quick_figures()` undoes it.
    """
    from ich.evaluation.figures import report_figures
    from ich.evaluation.figures.drawing import new_figure, picture

    real = report_figures.draw
    figure = new_figure(1, 1)
    figure.add_subplot()
    small = picture(figure, "small")
    names = [*report_figures.DESCRIPTIONS, "reliability_series", "reliability_patient"]

    def draw(content: Any, samples: Any, history: Any) -> dict[str, Any]:
        return {name: small for name in names if name != "training_curves" or history is not None}

    monkeypatch.setattr(report_figures, "draw", draw)
    return lambda: monkeypatch.setattr(report_figures, "draw", real)
