"""One patient: everything random about it is drawn here, and its slices are made from what was drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ich.config import Experiment
from ich.labels import LABELS, SUBTYPES, Label
from ich.phantom.anatomy import compose, spread
from ich.phantom.bleeds import paint_lesions
from ich.phantom.brain import paint_brain
from ich.phantom.distractors import Distractor, draw_distractors, paint_distractors
from ich.phantom.fields import Field
from ich.phantom.head import Frame, Head, build_frame, draw_head
from ich.phantom.lesions import Lesion, draw_lesions, midline_shift
from ich.phantom.plane import cut
from ich.phantom.quirks import PLAIN, Oddities, draw_oddities
from ich.phantom.scanner import Scanner, add_metal, draw_scanner, expose, harden, holder, outside_circle
from ich.phantom.skull import AIR, enclosed, wall_depth

MIN_CONTRAST = 9.0  # HU over the tissue that was there: a pixel below it is not counted as blood
MIN_AREA = 100.0  # mm^2 of visible blood that make a slice positive
MASK_CODES: Mapping[Label, int] = {label: code for code, label in enumerate(SUBTYPES, start=1)}


@dataclass(frozen=True)
class Patient:
    """What was drawn for a patient."""

    number: int
    seed: int
    rows: int
    head: Head
    scanner: Scanner
    lesions: tuple[Lesion, ...]
    distractors: tuple[Distractor, ...]
    heights: tuple[float, ...]  # of the slices, mm over the orbitomeatal line
    slab: float  # mm
    oddities: Oddities

    @cached_property
    def frame(self) -> Frame:
        """Fields that the slices share."""
        return build_frame(self.head, midline_shift(self.lesions))

    @cached_property
    def outside(self) -> np.ndarray:
        """Pixels outside the reconstruction circle."""
        return outside_circle(self.rows, self.scanner.circle)

    @cached_property
    def holder(self) -> Field:
        """HU of the head holder."""
        return holder(self.head, self.scanner, self.rows)


@dataclass(frozen=True)
class Slice:
    """An image and its truth."""

    hu: Field  # shape (rows, rows)
    mask: np.ndarray  # MASK_CODES, uint8, shape (rows, rows)
    pixels: dict[Label, int]  # of each subtype
    labels: dict[Label, int]


def draw_patient(config: Experiment, number: int, single: Mapping[str, Any]) -> Patient:
    """Draw patient `number`, which depends on config.seed and the number alone.

    Args:
        config: the experiment.
        number: from 0.
        single: quirks that the data set gives this patient (`quirks.draw_single`).
    """
    rng = np.random.default_rng([config.seed, number])
    phantom = config.phantom
    head = draw_head(rng)
    scanner = draw_scanner(rng, head)
    count = draw_count(config, number)
    lowest, highest = rng.normal(-28, 6), head.vertex + rng.normal(4, 3)
    heights = np.linspace(lowest, highest, count) if count > 1 else np.array([60.0])
    oddities = draw_oddities(rng)
    lesions, distractors = draw_lesions(rng, phantom.prevalence), draw_distractors(rng, head)
    return Patient(
        number=number, seed=config.seed, rows=phantom.rows, head=head, scanner=scanner, lesions=lesions,
        distractors=distractors, heights=tuple(float(h) for h in heights),
        slab=float(min(heights[1] - heights[0], 6.0)) if count > 1 else 5.0,
        oddities=replace(oddities, **single) if phantom.quirks else Oddities(PLAIN),
    )  # fmt: skip


def draw_count(config: Experiment, number: int) -> int:
    """Number of slices of patient `number`."""
    fewest, most = config.phantom.slices
    return int(np.random.default_rng([config.seed, number, 1]).integers(fewest, most, endpoint=True))


def make_slice(patient: Patient, index: int) -> Slice:
    """Make slice `index` (0 is the lowest) of a patient."""
    rng = np.random.default_rng([patient.seed, patient.number, 2, index])
    rows = patient.rows
    if patient.oddities.blank == index:
        return _blank(patient, rng)
    plane = cut(patient.frame, patient.heights[index], patient.slab)
    depth = wall_depth(plane)
    inside = plane.part(enclosed(depth, plane))
    brain = paint_brain(inside)
    paint_distractors(brain, inside, patient.distractors)
    raised = paint_lesions(brain, inside, patient.lesions)
    harden(brain, plane, patient.scanner, rng)
    image = expose(compose(plane, depth, brain, rows), patient.holder, plane, patient.scanner, rng)
    if patient.oddities.metal and abs(patient.heights[index] - 45) < 12:
        add_metal(image, np.random.default_rng([patient.seed, patient.number, 3]))
    mask = np.zeros((rows, rows), np.uint8)
    for label, change in raised.items():
        mask[spread(brain.frame, change, rows) > MIN_CONTRAST] = MASK_CODES[label]
    return _judged(image, mask, patient.head.field_of_view / rows)


def _blank(patient: Patient, rng: np.random.Generator) -> Slice:
    image = AIR + 3 * rng.standard_normal((patient.rows, patient.rows), np.float32)
    return _judged(image.astype(np.float32), np.zeros(image.shape, np.uint8), 1.0)


def _judged(image: Field, mask: np.ndarray, pixel: float) -> Slice:
    """Labels follow from the mask: a subtype that is too small to be seen is not labelled, nor kept in the mask."""
    counts = [np.count_nonzero(mask == code) for code in range(len(SUBTYPES) + 1)] if mask.any() else [0] * 6
    pixels, labels = {}, dict.fromkeys(LABELS, 0)
    for label, code in MASK_CODES.items():
        present = counts[code] * pixel**2 >= MIN_AREA
        if not present and counts[code]:
            mask[mask == code] = 0
        pixels[label] = int(counts[code]) if present else 0
        labels[label] = int(present)
    labels["any"] = int(any(labels.values()))
    return Slice(image, mask, pixels, labels)
