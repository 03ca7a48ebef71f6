"""Findings that are not blood: calcifications, dense vessels, old infarcts, metal."""

from dataclasses import dataclass

import numpy as np

from ich.phantom.brain import Brain
from ich.phantom.fields import Field
from ich.phantom.head import Head
from ich.phantom.plane import Ellipsoid, Patch, Plane, draw


@dataclass(frozen=True)
class Distractor:
    """A shape with its own HU."""

    shape: Ellipsoid
    hu: float
    edge: float
    rough: float
    share: float  # how far it replaces what was there


def draw_distractors(rng: np.random.Generator, head: Head) -> tuple[Distractor, ...]:
    """Draw a patient's normal and old findings; the old have more."""
    age = head.atrophy
    found: list[Distractor] = []
    if rng.random() < 0.35 + 0.5 * age:
        found.append(_spot(rng, (rng.normal(0, 1), 23, 46), rng.uniform(1.5, 3.5), rng.uniform(110, 400)))  # pineal
    if rng.random() < 0.25 + 0.5 * age:  # choroid plexus
        for side in (-1, 1):
            if rng.random() < 0.85:
                found.append(
                    _spot(rng, (24 * side * head.ventricles**0.25, 30, 58), rng.uniform(2, 4.5), rng.uniform(70, 350))
                )
    if rng.random() < 0.18 + 0.25 * age:  # basal ganglia
        for side in (-1, 1):
            found.append(_spot(rng, (19 * side, -9, 52), rng.uniform(2, 4.5), rng.uniform(55, 120)))
    if rng.random() < 0.1 + 0.2 * age:  # falx
        found.append(
            _spot(rng, (0, rng.choice([-1, 1]) * rng.uniform(40, 65), rng.uniform(70, 105)), rng.uniform(1.5, 4), 400)
        )
    for side in (-1, 1):  # arteries
        density = head.vessel - 4 + rng.normal(0, 4)
        found.append(Distractor(Ellipsoid((20 * side, -17, 28), (13, 1.5, 2.2), 0.15 * side), density, 1.2, 0, 0.9))
        found.append(Distractor(Ellipsoid((8 * side, -16, 24), (2.2, 2.2, 7)), density + 15 * age, 1.2, 0, 0.9))
    found.append(Distractor(Ellipsoid((rng.normal(0, 2), 0, 14), (1.9, 1.9, 14)), head.vessel + 10 * age, 1.2, 0, 0.9))
    if rng.random() < 0.06 + 0.14 * age:
        found.append(_infarct(rng))
    return tuple(found)


def _spot(rng: np.random.Generator, centre: tuple[float, float, float], radius: float, hu: float) -> Distractor:
    radii = tuple(radius * rng.uniform(0.7, 1.3, 3))
    return Distractor(Ellipsoid(centre, (radii[0], radii[1], radii[2]), rng.uniform(-1, 1)), hu, 1.2, 0.5, 0.9)


def _infarct(rng: np.random.Generator) -> Distractor:
    """An old territory: hypodense, wedge-like, reaching the surface."""
    bearing, size = rng.uniform(-2.8, 2.8), rng.uniform(9, 22)
    centre = (48 * np.sin(bearing), -58 * np.cos(bearing), rng.uniform(45, 90))
    return Distractor(Ellipsoid(centre, (size * 1.3, size, size), bearing), rng.uniform(8, 20), 4, 2.5, 0.85)


def paint_distractors(brain: Brain, plane: Plane, found: tuple[Distractor, ...]) -> None:
    """Draw them into the brain, before the bleeds."""
    rough = brain.fine + np.float32(0)
    for one in found:
        bumps: Field | None = rough * np.float32(one.rough) if one.rough else None
        if patch := draw(plane, one.shape, edge=one.edge, rough=bumps):
            Patch(patch.where, patch.cover * np.float32(one.share)).paint(brain.hu, one.hu)
