"""The faults and oddities of the RSNA 2019 files (how values are stored, headers, labels), drawn for a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ich.phantom.fields import Field

ENOUGH_PATIENTS = 30  # from here on the set holds truncated and missing files
PATIENTS_A_FAULT = 60  # one truncated and one missing file for so many, at least one of each


@dataclass(frozen=True)
class Storage:
    """How HU become stored values (PS3.3 C.7.6.3, C.11.1)."""

    name: str
    bits_stored: int
    signed: bool
    intercept: int
    wrapped: bool = False  # negative HU wrapped past 4095: undone by +1000, -4096 from 4096 on, intercept -1000
    padding: int | None = None  # stored value outside the reconstruction circle


PLAIN = Storage("signed-16", 16, True, -1024)


@dataclass(frozen=True)
class Oddities:
    """What is odd about one patient's files."""

    storage: Storage = PLAIN
    double_window: bool = False  # window tags hold two values, such as 00040
    text_numbers: bool = False  # 1.000000
    implicit_vr: bool = False
    monochrome1: bool = False  # on the tag only; HU are as ever
    metal: bool = False
    shape: tuple[float, float] | None = None  # rows and columns over the configured size
    same_position: int | None = None  # this slice has the position of the one before it
    blank: int | None = None  # this slice holds air only
    truncated: int | None = None  # this file ends too early
    missing: int | None = None  # labelled, but there is no file
    unlabelled: int | None = None  # a file, but no labels
    twin: tuple[int, int] | None = None  # (patient, slice) whose pixels this patient's slice of that number repeats


def draw_storage(rng: np.random.Generator) -> Storage:
    """Draw how a scanner stores values; rare kinds are a little more frequent than in the real data."""
    kind = rng.choice(
        ["signed-16", "unsigned-12", "minus-1000", "wrapped-12", "zero-intercept"], p=[0.42, 0.38, 0.07, 0.06, 0.07]
    )
    if kind == "signed-16":
        padding = rng.choice([-2000, -2048, -1500, 0], p=[0.7, 0.08, 0.07, 0.15])
        return Storage("signed-16", 16, True, -1024, padding=int(padding) or None)
    if kind == "unsigned-12":
        return Storage("unsigned-12", 12, False, -1024)
    if kind == "minus-1000":
        return Storage("minus-1000", 12, False, -1000)
    if kind == "wrapped-12":
        return Storage("wrapped-12", 12, False, int(rng.choice([0, 1], p=[0.8, 0.2])), wrapped=True)
    return Storage("zero-intercept", 16, True, 0, padding=int(rng.choice([-2000, -1500])))


def draw_oddities(rng: np.random.Generator) -> Oddities:
    """Draw what is odd about one patient, leaving out what a whole data set holds once or twice."""
    storage = draw_storage(rng)
    return Oddities(
        storage=storage,
        double_window=storage.bits_stored == 12,
        text_numbers=bool(rng.random() < 0.12),
        implicit_vr=bool(rng.random() < 0.12),
        monochrome1=bool(rng.random() < 0.015),
        metal=bool(rng.random() < 0.03),
    )


def draw_single(rng: np.random.Generator, slices: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Draw which patients carry what a data set holds once or twice.

    Args:
        rng: the data set's generator.
        slices: number of slices of each patient.

    Returns:
        For each patient chosen, fields of `Oddities` to replace; no patient carries two.
    """
    patients = len(slices)
    order = [int(p) for p in rng.permutation(patients)]
    wanted: list[str] = ["blank", "same_position", "shape", "unlabelled", "monochrome1", "metal"]
    if patients >= ENOUGH_PATIENTS:
        faults = ["truncated", "missing"] * max(1, patients // PATIENTS_A_FAULT)
        wanted = [*faults, "twin", *wanted, "same_position", "shape"]
    chosen: dict[int, dict[str, Any]] = {}
    for patient, what in zip(order, wanted, strict=False):
        middle = int(rng.integers(1, max(2, slices[patient] - 1)))
        if what == "shape":
            chosen[patient] = {
                what: ((638 / 512, 490 / 512), (430 / 512, 404 / 512), (666 / 512, 1.0))[int(rng.integers(3))]
            }
        elif what in ("monochrome1", "metal"):
            chosen[patient] = {what: True}
        elif what == "twin":
            other = order[-1]
            chosen[patient] = {what: (other, min(middle, slices[other] - 1, slices[patient] - 1))}
        else:
            chosen[patient] = {what: 0 if what == "blank" else min(middle, slices[patient] - 1)}
    return chosen


def names(oddities: Oddities, index: int) -> list[str]:
    """Names of the quirks that slice `index` of a patient got."""
    storage = oddities.storage
    found = [] if storage == PLAIN else [storage.name]
    if storage.padding is not None:
        found.append("padding")
    for name in ("double_window", "text_numbers", "implicit_vr", "monochrome1", "metal"):
        if getattr(oddities, name):
            found.append(name)
    if oddities.shape is not None:
        found.append("not_square")
    for name in ("same_position", "blank", "truncated", "missing", "unlabelled"):
        if getattr(oddities, name) == index:
            found.append(name)
    if oddities.twin is not None and oddities.twin[1] == index:
        found.append("twin")
    return found


def encode(hu: Field, outside: np.ndarray, storage: Storage) -> np.ndarray:
    """Stored values of an image.

    Args:
        hu: HU, float32.
        outside: bool, same shape: pixels outside the reconstruction circle.
        storage: how HU are stored.

    Returns:
        int16 or uint16, same shape. Values that do not fit are clipped, as scanners do.
    """
    if storage.wrapped:
        stored = (np.rint(np.clip(hu, -1000, 3095)).astype(np.int32) % 4096).astype(np.uint16)
        stored[outside] = 4096 - 1000
        return stored
    low, high = (-32768, 32767) if storage.signed else (0, 2**storage.bits_stored - 1)
    values = np.rint(hu)
    values -= storage.intercept
    np.clip(values, low, high, out=values)
    stored = values.astype(np.int16 if storage.signed else np.uint16)
    stored[outside] = storage.padding if storage.padding is not None else max(low, -1000 - storage.intercept)
    return stored
