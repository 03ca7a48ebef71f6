"""The `phantom` step: a data set of synthetic head CT in the competition's layout, with its truth.

    <workspace>/phantom/stage_2_train/<ImageID>.dcm
    <workspace>/phantom/stage_2_train.csv       ID,Label; written last, so a killed run leaves no believable data set
    <workspace>/phantom/truth.parquet           a row a slice: ids, position, labels, lesion pixels, quirks
    <workspace>/phantom/masks/<ImageID>.png     of slices with haemorrhage: 0, or 1 to 5 in the order of SUBTYPES

Patients are made in parallel processes; each depends on (seed, number) alone, so the bytes are the same for any number
of processes. Finished patients are kept (`ich.chunks`): a killed run continues.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ich.chunks import run_in_chunks
from ich.config import Experiment
from ich.files import atomic, file_sizes, write_bytes, write_parquet
from ich.labels import IMAGE_ID, LABELS, SUBTYPES
from ich.phantom import quirks
from ich.phantom.dicom_writer import Identity, encode_file
from ich.phantom.patient import Patient, Slice, draw_count, draw_patient, make_slice
from ich.phantom.scanner import geometry, reshape
from ich.phantom.skull import AIR
from ich.png import encode_png
from ich.workspace import Outcome, Workspace

VERSION = 4  # of the phantoms: raise it when the same seed gives other bytes
CSV_ORDER = (*SUBTYPES, "any")
REPEATED_IMAGES = 2
PATIENTS_AT_ONCE = 4  # one to two seconds of work
TRUTH_TYPES: dict[str, Any] = {"quirks": pl.List(pl.String), "size": pl.Int64, **dict.fromkeys(LABELS, pl.UInt8)}

Row = dict[str, Any]


def phantom(config: Experiment) -> Outcome:
    """Make the data set that `config.phantom` and `config.seed` describe.

    Returns:
        Counts of patients, files, slices and positives of each label.
    """
    workspace = Workspace(config)
    for stale in (truth_path(workspace), labels_path(workspace)):
        stale.unlink(missing_ok=True)
    truth = run_in_chunks(
        "phantom patients", range(config.phantom.patients), functools.partial(make_patients, config=config),
        folder=workspace.parts / "phantom", settings=_settings(config), chunk=PATIENTS_AT_ONCE,
        intact=functools.partial(_is_whole, config, _files(workspace)),
    ).collect()  # fmt: skip
    _sweep(config, truth)
    _write_labels(config, truth)
    write_parquet(truth_path(workspace), truth)
    return _outcome(workspace, truth)


def make_patients(numbers: Sequence[int], config: Experiment) -> pl.DataFrame:
    """Write the files of some patients and return their rows of the truth table."""
    for directory in (folder(Workspace(config)), masks(Workspace(config))):
        directory.mkdir(parents=True, exist_ok=True)
    single = _single(config)
    rows = [row for number in numbers for row in _make(config, number, single)]
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=TRUTH_TYPES)


def folder(workspace: Workspace) -> Path:
    """Where the DICOM files are."""
    return workspace.phantom / "stage_2_train"


def masks(workspace: Workspace) -> Path:
    """Where the lesion masks are."""
    return workspace.phantom / "masks"


def labels_path(workspace: Workspace) -> Path:
    """The label CSV."""
    return workspace.phantom / "stage_2_train.csv"


def truth_path(workspace: Workspace) -> Path:
    """The truth table."""
    return workspace.phantom / "truth.parquet"


def _settings(config: Experiment) -> str:
    """Everything that the bytes depend on."""
    settings = config.phantom.model_dump(mode="json")
    return json.dumps([VERSION, config.seed, settings], sort_keys=True)


def _files(workspace: Workspace) -> dict[str, int]:
    """Names and sizes of the DICOM files that are there before any is made."""
    return file_sizes(folder(workspace)) if folder(workspace).is_dir() else {}


def _is_whole(config: Experiment, there: Mapping[str, int], patients: Sequence[int], part: pl.DataFrame) -> bool:
    """Whether a part has all slices of its patients, and their files are there as they were written."""
    if len(part) != sum(draw_count(config, number) for number in patients):
        return False
    made = part.filter(pl.col("size").is_not_null()).select(IMAGE_ID, "size")
    return all(there.get(f"{image_id}.dcm") == size for image_id, size in made.iter_rows())


def _single(config: Experiment) -> dict[int, dict[str, Any]]:
    if not config.phantom.quirks:
        return {}
    counts = [draw_count(config, number) for number in range(config.phantom.patients)]
    return quirks.draw_single(np.random.default_rng([config.seed, 2**32 - 1]), counts)


def _make(config: Experiment, number: int, single: dict[int, dict[str, Any]]) -> list[Row]:
    """Make one patient's files."""
    patient = draw_patient(config, number, single.get(number, {}))
    twin = patient.oddities.twin
    other = draw_patient(config, twin[0], single.get(twin[0], {})) if twin else None
    rows = []
    for index in range(len(patient.heights)):
        source = other if other is not None and twin is not None and index == twin[1] else patient
        rows.append(_make_slice(config, patient, source, index))
    return rows


def _make_slice(config: Experiment, patient: Patient, source: Patient, index: int) -> Row:
    """Write one slice; its pixels come from `source`, which is another patient for a twin."""
    workspace = Workspace(config)
    made = make_slice(source, index)
    identity = _identity(config, patient, index)
    shape = _shape(source)
    size = None
    if patient.oddities.missing != index:
        stored = quirks.encode(
            reshape(made.hu, shape, AIR), reshape(source.outside, shape, True), source.oddities.storage
        )
        odd = replace(patient.oddities, storage=source.oddities.storage, double_window=source.oddities.double_window)
        content = encode_file(stored, identity, odd, config.phantom.headers, patient.oddities.truncated == index)
        write_bytes(folder(workspace) / f"{identity.image}.dcm", content)
        size = len(content)
    if config.phantom.masks and made.labels["any"]:
        write_bytes(masks(workspace) / f"{identity.image}.png", encode_png(reshape(made.mask, shape, 0)))
    return _row(identity, patient, source, made, index) | {"size": size}


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
        (masks(workspace), images if config.phantom.masks else set()),
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
