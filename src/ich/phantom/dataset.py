"""The `phantom` step: a data set of synthetic head CT in the competition's layout, with its truth.

    <workspace>/phantom/stage_2_train/<ImageID>.dcm
    <workspace>/phantom/stage_2_train.csv       ID,Label; written last, so a killed run leaves no believable data set
    <workspace>/phantom/truth.parquet           a row a slice: ids, position, labels, lesion pixels, quirks
    <workspace>/phantom/masks/<ImageID>.png     with phantom.masks: 1 to 5, in the order of SUBTYPES

Patients are made in parallel processes; each depends on (seed, number) alone, so the bytes are the same for any number
of processes. A patient's rows are kept in the workspace's `parts` until all are there: a killed run continues.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track

from ich.config import Experiment
from ich.errors import DataError
from ich.labels import IMAGE_ID, LABELS, SUBTYPES
from ich.phantom import quirks
from ich.phantom.dicom_writer import Identity, encode_file
from ich.phantom.patient import Patient, Slice, draw_count, draw_patient, make_slice
from ich.phantom.scanner import geometry, reshape
from ich.phantom.skull import AIR
from ich.workspace import Outcome, Workspace, atomic, write_json

VERSION = 1  # of the phantoms: raise it when the same seed gives other bytes
CSV_ORDER = (*SUBTYPES, "any")
REPEATED_IMAGES = 2
TRUTH_TYPES: dict[str, Any] = {"quirks": pl.List(pl.String), **dict.fromkeys(LABELS, pl.UInt8)}

Row = dict[str, Any]


def phantom(config: Experiment) -> Outcome:
    """Make the data set that `config.phantom` and `config.seed` describe.

    Returns:
        Counts of patients, files, slices and positives of each label.
    """
    workspace = Workspace(config)
    for stale in (truth_path(workspace), labels_path(workspace)):
        stale.unlink(missing_ok=True)
    parts = workspace.parts / f"phantom-{_key(config)}"
    for other in set(workspace.parts.glob("phantom-*")) - {parts}:
        shutil.rmtree(other)  # of another config: its files may be swept away below
    parts.mkdir(parents=True, exist_ok=True)
    patients = range(config.phantom.patients)
    waiting = [number for number in patients if not _is_made(workspace, parts / f"{number}.json")]
    console = Console(stderr=True)
    done = _make_all(config, parts, waiting)
    for _ in track(done, "phantom", len(waiting), console=console, disable=not console.is_terminal):
        pass
    rows = [row for number in patients for row in json.loads((parts / f"{number}.json").read_text())]
    truth = pl.DataFrame(rows, infer_schema_length=None, schema_overrides=TRUTH_TYPES)
    _sweep(config, truth)
    _write_labels(config, truth)
    with atomic(truth_path(workspace)) as temporary:
        truth.write_parquet(temporary)
    shutil.rmtree(parts)
    return _outcome(workspace, truth)


def folder(workspace: Workspace) -> Path:
    """Where the DICOM files are."""
    return workspace.phantom / "stage_2_train"


def labels_path(workspace: Workspace) -> Path:
    """The label CSV."""
    return workspace.phantom / "stage_2_train.csv"


def truth_path(workspace: Workspace) -> Path:
    """The truth table."""
    return workspace.phantom / "truth.parquet"


def _key(config: Experiment) -> str:
    """Names everything that the bytes depend on."""
    content = json.dumps([VERSION, config.seed, config.phantom.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _is_made(workspace: Workspace, part: Path) -> bool:
    """Whether an earlier run finished this patient, and its files are still there."""
    if not part.is_file():
        return False
    rows = json.loads(part.read_text())
    return all("missing" in row["quirks"] or (folder(workspace) / f"{row[IMAGE_ID]}.dcm").is_file() for row in rows)


def _start_worker() -> None:
    """Ctrl-C is the parent's to handle; one process a core leaves OpenCV no cores for threads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _make_all(config: Experiment, parts: Path, waiting: list[int]) -> Iterator[int]:
    """Make patients, in processes where there are several; yields a number as each is done."""
    processes = min(os.cpu_count() or 1, len(waiting))
    single = _single(config)
    if processes < 2:
        for number in waiting:
            yield _make(config, parts, number, single)
        return
    context = multiprocessing.get_context("spawn")  # fork would copy the threads of polars and OpenCV half
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker) as pool:
        try:
            jobs = [pool.submit(_make, config, parts, number, single) for number in waiting]
            for job in as_completed(jobs):
                yield job.result()
        except BrokenProcessPool as error:
            raise DataError("phantom: a worker process died, maybe for lack of memory; run the step again") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _single(config: Experiment) -> dict[int, dict[str, Any]]:
    if not config.phantom.quirks:
        return {}
    counts = [draw_count(config, number) for number in range(config.phantom.patients)]
    return quirks.draw_single(np.random.default_rng([config.seed, 2**32 - 1]), counts)


def _make(config: Experiment, parts: Path, number: int, single: dict[int, dict[str, Any]]) -> int:
    """Make one patient's files; its rows are written last."""
    patient = draw_patient(config, number, single.get(number, {}))
    twin = patient.oddities.twin
    other = draw_patient(config, twin[0], single.get(twin[0], {})) if twin else None
    rows = []
    for index in range(len(patient.heights)):
        source = other if other is not None and twin is not None and index == twin[1] else patient
        rows.append(_make_slice(config, patient, source, index))
    write_json(parts / f"{number}.json", rows)
    return number


def _make_slice(config: Experiment, patient: Patient, source: Patient, index: int) -> Row:
    """Write one slice; its pixels come from `source`, which is another patient for a twin."""
    workspace = Workspace(config)
    made = make_slice(source, index)
    identity = _identity(config, patient, index)
    shape = _shape(source)
    if patient.oddities.missing != index:
        stored = quirks.encode(
            reshape(made.hu, shape, AIR), reshape(source.outside, shape, True), source.oddities.storage
        )
        odd = replace(patient.oddities, storage=source.oddities.storage, double_window=source.oddities.double_window)
        content = encode_file(stored, identity, odd, config.phantom.headers, patient.oddities.truncated == index)
        with atomic(folder(workspace) / f"{identity.image}.dcm") as temporary:
            temporary.write_bytes(content)
    if config.phantom.masks:
        with atomic(workspace.phantom / "masks" / f"{identity.image}.png") as temporary:
            temporary.write_bytes(cv2.imencode(".png", reshape(made.mask, shape, 0))[1].tobytes())
    return _row(identity, patient, source, made, index)


def _shape(patient: Patient) -> tuple[int, int]:
    ratio = patient.oddities.shape or (1.0, 1.0)
    return round(patient.rows * ratio[0]), round(patient.rows * ratio[1])


def _identity(config: Experiment, patient: Patient, index: int) -> Identity:
    placed = index - 1 if patient.oddities.same_position == index and index > 0 else index
    position, orientation = geometry(
        patient.head, patient.scanner, patient.heights[placed], patient.rows, _shape(patient)
    )
    seed, number = config.seed, patient.number
    return Identity(
        image=f"ID_{_scramble(seed, number * 4096 + index, 36):09x}",
        patient=f"ID_{_scramble(seed, number, 32):08x}",
        study=f"ID_{_scramble(seed + 1, number, 40):010x}",
        series=f"ID_{_scramble(seed + 2, number, 40):010x}",
        position=position, orientation=orientation, pixel=patient.head.field_of_view / patient.rows,
        slab=patient.slab, tilt=patient.scanner.tilt, number=index + 1,
    )  # fmt: skip


def _scramble(seed: int, counter: int, bits: int) -> int:
    """A number of `bits` bits that looks random; different counters never give the same one."""
    mask = (1 << bits) - 1
    value = counter & mask
    for turn in range(3):
        value = (value * 0x9E3779B97F4A7C15 + seed * 0xBF58476D1CE4E5B9 + turn) & mask  # odd factor: a bijection
        value ^= value >> (bits // 2)
    return value


def _row(identity: Identity, patient: Patient, source: Patient, made: Slice, index: int) -> Row:
    _, y, z = identity.position
    normal_y, normal_z = -identity.orientation[5], identity.orientation[4]
    return {
        IMAGE_ID: identity.image, "patient": identity.patient, "study": identity.study, "series": identity.series,
        "slice": index, "position_mm": y * normal_y + z * normal_z, **{label: made.labels[label] for label in LABELS},
        **{f"{label}_pixels": made.pixels[label] for label in SUBTYPES},
        "quirks": quirks.names(replace(patient.oddities, storage=source.oddities.storage), index),
        "repair": "unwrap" if source.oddities.storage.wrapped else "none",
    }  # fmt: skip


def _sweep(config: Experiment, truth: pl.DataFrame) -> None:
    """Remove files that an earlier data set left behind."""
    workspace = Workspace(config)
    images = set(truth[IMAGE_ID])
    for directory, known in (
        (folder(workspace), images),
        (workspace.phantom / "masks", images if config.phantom.masks else set()),
    ):
        for path in directory.glob("*"):
            if path.stem not in known or path.name.startswith("."):
                path.unlink()


def _write_labels(config: Experiment, truth: pl.DataFrame) -> None:
    """Write the label CSV in the competition's order of rows, sorted by image."""
    known = truth.filter(~pl.col("quirks").list.contains("unlabelled")).sort(IMAGE_ID)
    if config.phantom.quirks:
        known = pl.concat([known, known.filter(pl.col("any") == 0).head(REPEATED_IMAGES)])
    long = known.select(IMAGE_ID, *CSV_ORDER).unpivot(
        CSV_ORDER, index=IMAGE_ID, variable_name="label", value_name="Label"
    )
    images = known.height
    order = pl.Series(
        [row * images + image for image in range(images) for row in range(len(CSV_ORDER))], dtype=pl.UInt32
    )
    rows = long[order].select(pl.concat_str(IMAGE_ID, "label", separator="_").alias("ID"), "Label")
    with atomic(labels_path(Workspace(config))) as temporary:
        rows.write_csv(temporary)


def _outcome(workspace: Workspace, truth: pl.DataFrame) -> Outcome:
    counts = {"patients": truth["patient"].n_unique(), "slices": truth.height}
    counts |= {label: int(truth[label].sum()) for label in LABELS}
    return Outcome(counts=counts, outputs=[labels_path(workspace), folder(workspace), truth_path(workspace)])
