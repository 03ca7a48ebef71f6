"""Brain, ventricles, cisterns, falx and tentorium in one slice, as HU."""

from dataclasses import dataclass

import numpy as np

from ich.phantom.fields import Field, bell, positive, rise
from ich.phantom.head import Frame, Head
from ich.phantom.plane import Ellipsoid, Patch, Plane, draw


@dataclass
class Brain:
    """What lies inside the skull. Fields of shape of `frame`, float32."""

    frame: Frame  # all of the head's, or the part of it that the skull encloses
    hu: Field
    cavity: Field  # 0 to 1: over the floor and under the inner table
    inner: Field  # depth under the inner table, mm
    sulci: Field  # 0 to 1: fluid of sulci, fissures and cisterns
    ventricles: Field  # 0 to 1
    fine: Field  # noise, for edges
    tentorium: Field  # height over the tentorium, mm


def paint_brain(plane: Plane) -> Brain:
    """Draw the inside of the skull, without bleeds.

    Args:
        plane: a slice, or the part of it that the skull encloses (`skull.enclosed`): the rest is not seen.
    """
    head = plane.frame.head
    fine = plane.frame.fine.at(plane.height)
    inner = plane.inner
    cavity = rise(plane.above, plane.floor_edge) if plane.low else np.ones_like(inner)
    tent = plane.z - _tentorium(plane)
    between = _between_hemispheres(tent, plane)
    surface = np.minimum(inner, 0.7 * plane.above) if plane.low else inner
    sulci, hu = _cortex(plane, surface, between, fine, tent)
    _paint_all(hu, plane, _deep_white(head), head.white - 1 - 4 * head.atrophy**2, 9.0, 0.8)
    _paint_all(hu, plane, _nuclei(head), head.grey, 3.0, 0.75)
    _cerebellum(hu, plane, tent, fine)
    _canal(hu, sulci, plane)
    for shape in _cisterns(head):
        if patch := draw(plane, shape, edge=2.0):
            patch.add_to(sulci)
    ventricles = np.zeros_like(hu)
    for shape in [*lateral_ventricles(head, -1), *lateral_ventricles(head, 1), *_central_ventricles(head)]:
        if patch := draw(plane, shape, edge=1.2):
            patch.add_to(ventricles)
    _fissure(sulci, plane, between)
    hu += np.maximum(sulci, ventricles) * (np.float32(head.fluid) - hu)
    brain = Brain(plane.frame, hu, cavity, inner, sulci, ventricles, fine, tent)
    _dura(brain, plane, between)
    return brain


def _paint_all(hu: Field, plane: Plane, shapes: list[Ellipsoid], value: float, edge: float, share: float) -> None:
    for shape in shapes:
        if patch := draw(plane, shape, edge=edge):
            Patch(patch.where, patch.cover * np.float32(share)).paint(hu, value)


def _cortex(plane: Plane, surface: Field, between: Field, fine: Field, tent: Field) -> tuple[Field, Field]:
    """Fluid in the sulci, and HU of grey and white matter: cortex follows the sulci and the surface."""
    head, frame = plane.frame.head, plane.frame
    folds = np.abs(fold(plane) + np.float32(0.14) * fine)
    coarse = frame.coarse.at(plane.height + 60)
    uneven = frame.coarse2.at(plane.height + 25)
    gap = np.float32(0.5 + 1.7 * head.atrophy) + np.float32(0.5) * coarse
    depth = np.minimum(surface - gap, np.abs(plane.xw) - 1 + 60 * (1 - between))
    reach = np.float32(13 + 5 * head.atrophy) + 4 * coarse  # how deep the sulci go
    width = np.float32(0.13 + 0.24 * head.atrophy**1.3) * rise(reach - depth, 20.0)
    width = width * np.clip(1 + np.float32(0.55) * uneven, 0.15, 2) + np.float32(1e-3)
    above = rise(tent - 2, 4)
    sulci = np.clip(1.15 - folds / width, 0, 1) * above * np.float32(0.5 + 0.42 * head.atrophy)
    np.maximum(sulci, rise(gap - surface, 1.6 + plane.slab * plane.lean) * np.float32(0.85), out=sulci)
    ribbon = np.maximum(rise(4.5 - depth, 4), rise(np.float32(0.6) - folds, 0.5) * rise(reach + 6 - depth, 10))
    hu = np.float32(head.white) + np.float32(head.grey - head.white) * ribbon
    hu += np.float32(0.8) * coarse + np.float32(0.5) * fine
    return sulci, hu


def fold(plane: Plane) -> Field:
    """Random field whose zeros are the sulci: they run inwards at the surface and wind freely deeper in."""
    frame = plane.frame
    return frame.gyri.at(plane.height) * (1 - np.float32(0.35) * frame.radial_share) + frame.radial.at(plane.height) * (
        np.float32(0.75) * frame.radial_share
    )


def _deep_white(head: Head) -> list[Ellipsoid]:
    """The white matter over and around the ventricles, hypodense in the old."""
    return [Ellipsoid((23 * side, 2, 80), (9, 36, 17), -0.12 * side) for side in (-1, 1)] + [
        Ellipsoid((15 * side, -36, 60), (8, 9, 10), 0.5 * side) for side in (-1, 1)
    ]


def _nuclei(head: Head) -> list[Ellipsoid]:
    """Caudate heads, lentiform nuclei, thalami and insular cortex."""
    shapes = []
    for side in (-1, 1):
        shapes += [
            Ellipsoid((13.5 * side, -24, 57), (5, 10, 11), -0.3 * side),
            Ellipsoid((25 * side, -8, 52), (6.5, 16, 11), -0.3 * side),
            Ellipsoid((10 * side, 10, 54), (8.5, 14, 11), 0.35 * side),
            Ellipsoid((39 * side, -9, 50), (2.5, 20, 14), -0.1 * side),
        ]
    return shapes


def lateral_ventricles(head: Head, side: int) -> list[Ellipsoid]:
    """Horns, body and atrium of one side (1 left, -1 right), in the head's own size; the temporal horn is last."""
    k = head.ventricles * (1 + side * head.asymmetry)
    w = 0.45 + 0.55 * k  # the walls move apart more than the horns grow long
    return [
        Ellipsoid((8.5 * w * side, -29, 58), (3.6 * k, 11 * w, 9 * w), 0.42 * side),
        Ellipsoid((7.5 * w * side, -15, 64), (3.8 * k, 12 * w, 8 * w), 0.12 * side),
        Ellipsoid((12.5 * w * side, 8, 70), (4.6 * k, 25 * w, 7 * w), -0.18 * side),
        Ellipsoid((24 * w**0.5 * side, 30, 59), (5.0 * k, 11 * w, 11 * w), -0.5 * side),
        Ellipsoid((26 * w**0.5 * side, 44, 54), (2.6 * k, 12 * w, 5 * w), 0.12 * side),
        Ellipsoid((34 * side, 4, 27), (1.7 * k, 10 * w, 4), 0.25 * side),
    ]


def _central_ventricles(head: Head) -> list[Ellipsoid]:
    """Third and fourth ventricle."""
    k = head.ventricles
    return [
        Ellipsoid((0, 0, 47), (1.6 * k + 0.5, 13, 9)),
        Ellipsoid((0, 37, 12), (5.5 * k**0.5, 4.0 * k**0.5, 8)),
        Ellipsoid((0, 40, 6), (3.5, 5.5, 6)),
    ]


def _cisterns(head: Head) -> list[Ellipsoid]:
    """Suprasellar star, Sylvian, ambient, quadrigeminal, prepontine, cerebellopontine and great cisterns."""
    k = 0.55 + 0.75 * head.atrophy
    shapes = [
        Ellipsoid((0, -13, 28), (9, 7, 6)),
        Ellipsoid((0, -27, 30), (1.8 * k, 10, 7)),
        Ellipsoid((0, 2, 29), (5, 4.5, 6)),
        Ellipsoid((0, 26, 36), (9 * k, 2.8 * k, 6)),
        Ellipsoid((0, -1, 10), (12, 2.2 * k, 9)),
        Ellipsoid((0, 64, -8), (11 * k, 4 * k, 9)),
        Ellipsoid((0, 30, 46), (5 * k, 5 * k, 6)),
    ]
    for side in (-1, 1):
        shapes += [
            Ellipsoid((16 * side, -19, 29), (10, 2.2 * k, 5), 0.25 * side),
            Ellipsoid((15 * side, 9, 32), (1.7 * k, 10, 8), -0.5 * side),
            Ellipsoid((14 * side, 22, 34), (1.6 * k, 7, 7), 0.8 * side),
            Ellipsoid((19 * side, 8, 6), (8, 2.2 * k, 6), -0.3 * side),
            Ellipsoid((44 * side, -6, 50), (1.6 * k, 17, 12), -0.12 * side),
            Ellipsoid((42 * side, -22, 40), (9, 2.0 * k, 10), 0.3 * side),
            Ellipsoid((53 * side, -16, 47), (9, 1.9 * k, 13), 0.35 * side),
            Ellipsoid((52 * side, 8, 58), (9, 1.5 * k, 9), -0.5 * side),
        ]
    return shapes


def _tentorium(plane: Plane) -> Field:
    """Height of the tentorium: low at the skull, highest at the midline behind the midbrain, none in front of it."""
    side = np.abs(plane.xw)
    lift = positive(1 - side / np.float32(52))
    front = rise(plane.yw - 12, 14)
    back = np.clip((plane.yw - 24) * np.float32(0.015), 0, 0.8)
    return (13 + 32 * lift * np.sqrt(lift) * (1 - back)) * front - 60 * (1 - front)


def _cerebellum(hu: Field, plane: Plane, tent: Field, fine: Field) -> None:
    """Folia below the tentorium: fine stripes of grey matter; a brighter vermis."""
    if plane.height > 55:
        return
    head = plane.frame.head
    below = rise(-tent - 1, 4) * rise(plane.yw - 22, 10)
    folia = np.sin(np.float32(1.7) * (plane.yw + np.float32(0.004) * np.square(plane.xw)) + 1.5 * fine)
    vermis = bell(plane.xw, 9)
    target = np.float32(head.grey - 3.0) + 1.4 * folia + 2 * vermis
    hu += below * (target - hu)


def _canal(hu: Field, sulci: Field, plane: Plane) -> None:
    """The medulla in its fluid, at and under the foramen magnum."""
    if plane.height > 5:
        return
    if patch := draw(plane, Ellipsoid((0, 33, -45), (15.5, 18, 28)), edge=2):
        patch.add_to(sulci)
    if patch := draw(plane, Ellipsoid((0, 26, -40), (7.5, 6.5, 60)), edge=2):
        part = sulci[patch.where]
        part *= 1 - patch.cover
    for side in (-1, 1):  # tonsils
        if patch := draw(plane, Ellipsoid((7 * side, 40, -18), (5.5, 6.5, 10)), edge=2):
            part = sulci[patch.where]
            part *= 1 - patch.cover


def _fissure(sulci: Field, plane: Plane, between: Field) -> None:
    """Fluid between the hemispheres, most of it in front."""
    head = plane.frame.head
    width = np.float32(0.8 + 1.3 * head.atrophy) * (1 + np.float32(0.5) * rise(-plane.yw - 20, 30))
    fluid = np.clip(1.2 - np.abs(plane.xw) / width, 0, 1) * between * np.float32(0.4 + 0.4 * head.atrophy)
    np.maximum(sulci, fluid, out=sulci)


def _between_hemispheres(tent: Field, plane: Plane) -> Field:
    """Where the fissure is: outside the corpus callosum and what lies below it, over the tentorium."""
    middle = np.sqrt(np.square(plane.yw * np.float32(1 / 43)) + np.square((plane.z - 50) * np.float32(1 / 29)))
    return rise((middle - 1) * 30, 6) * rise(tent - 1, 4) * rise(plane.z - 24, 8)


def _dura(brain: Brain, plane: Plane, between: Field) -> None:
    """Falx, tentorium and venous sinuses: dense, normal, and easily taken for blood."""
    head = plane.frame.head
    hu, x = brain.hu, plane.xw
    falx = bell(x, 0.75) * between * rise(24 - brain.inner + 60 * (plane.yw > 0), 14)
    hu += falx * np.float32(0.85) * (np.float32(head.dura) - hu)
    if plane.height < 60:
        sheet = bell(brain.tentorium, 0.8 + 0.2 * plane.slab) * rise(plane.yw - 14, 6)
        hu += sheet * np.float32(0.32) * (np.float32(head.dura) - hu)
        transverse = bell(brain.tentorium + 2, 5.0) * rise(6.5 - brain.inner, 3) * rise(plane.yw - 20, 10)
        hu += transverse * np.float32(0.8) * (np.float32(head.vessel) - hu)
    wedge = rise(3.4 - np.abs(x) - 0.42 * positive(brain.inner), 1.5)
    sinus = wedge * np.maximum(rise(plane.yw - 15, 8), rise(plane.z - 78, 10)) * rise(plane.z - 20, 6)
    hu += sinus * (np.float32(head.vessel) - hu)
