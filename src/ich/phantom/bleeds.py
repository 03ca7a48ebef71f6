"""Paints bleeds into the brain of one slice. Shapes are 3-D, so neighbouring slices agree."""

import numpy as np

from ich.labels import Label
from ich.phantom.brain import Brain, fold, lateral_ventricles
from ich.phantom.fields import Field, positive, rise
from ich.phantom.lesions import Lesion
from ich.phantom.plane import Ellipsoid, Plane, draw

OEDEMA = 8.0  # HU below the brain
REACH = 15.0  # mm that a slab, its slope and a ragged edge can add to a lesion's height


def paint_lesions(brain: Brain, plane: Plane, lesions: tuple[Lesion, ...]) -> dict[Label, Field]:
    """Draw the bleeds into the brain.

    Returns:
        For each kind present in the slice, by how many HU blood raises each pixel (float32, shape of `brain.frame`).
    """
    raised: dict[Label, Field] = {}
    for lesion in sorted(lesions, key=lambda one: one.kind != "intraparenchymal"):  # its oedema lies under the others
        cover = _COVER[lesion.kind](lesion, brain, plane)
        if cover is None or cover.max() < 0.1:
            continue
        blood = np.float32(lesion.hu) + np.float32(lesion.mottle) * brain.fine
        change = cover * positive(blood - brain.hu)
        brain.hu += change
        visible = change * brain.cavity * (brain.inner > 0.3)
        raised[lesion.kind] = np.maximum(raised[lesion.kind], visible) if lesion.kind in raised else visible
    return raised


def _epidural(lesion: Lesion, brain: Brain, plane: Plane) -> Field | None:
    length, thickness, height = lesion.extent
    if abs(plane.height - lesion.centre[2]) > height + REACH:
        return None
    along = _turn(plane, lesion) * np.float32(75 / length)
    lens = np.float32(thickness) * (1 - np.square(along) - np.square(np.square(_up(plane, lesion))))
    edge = np.float32(0.6 * lesion.rough) * brain.fine
    return rise(lens + edge - brain.inner, 1.6 + plane.slab * plane.lean) * (lens > 0)


def _subdural(lesion: Lesion, brain: Brain, plane: Plane) -> Field | None:
    span, thickness, height = lesion.extent
    if lesion.site == "tentorium":
        return _on_tentorium(lesion, brain, plane) if plane.height < 60 else None
    if abs(plane.height - lesion.centre[2]) > height + REACH:
        return None
    if lesion.site.startswith("falx"):
        return _along_falx(lesion, brain, plane)
    crescent = (
        1 - np.square(np.square(_turn(plane, lesion) / np.float32(span))) - np.square(np.square(_up(plane, lesion)))
    )
    uneven = 1 + np.float32(0.18) * plane.frame.coarse2.at(plane.height + 30)
    layer = np.float32(thickness) * np.sqrt(positive(crescent)) * uneven
    edge = np.float32(0.4 * lesion.rough) * brain.fine
    cover = rise(layer + edge - brain.inner, 1.6 + plane.slab * plane.lean) * (crescent > 0)
    return cover * rise(plane.xw * lesion.side - 1.5, 2)  # the falx stops it


def _on_tentorium(lesion: Lesion, brain: Brain, plane: Plane) -> Field:
    uneven = np.float32(lesion.rough) * plane.frame.coarse2.at(plane.height + 30)
    layer = rise(1.5 + 0.35 * lesion.extent[1] + uneven - np.abs(brain.tentorium - 2), 3)
    return layer * rise(plane.xw * lesion.side - 3, 3) * rise(plane.yw - 16, 10)


def _along_falx(lesion: Lesion, brain: Brain, plane: Plane) -> Field:
    middle = -32 if lesion.site == "falx front" else 32
    ends = 1 - np.square((plane.yw - middle) * np.float32(1 / 48)) - np.square(_up(plane, lesion))
    uneven = np.float32(0.5) * plane.frame.coarse2.at(plane.height + 30)
    beside = plane.xw * lesion.side
    layer = rise(np.float32(0.45 * lesion.extent[1]) * ends + uneven - beside, 1.5) * rise(beside + 0.8, 1.5)
    return layer * rise(plane.z - 55, 20) * (ends > 0)


def _subarachnoid(lesion: Lesion, brain: Brain, plane: Plane) -> Field | None:
    if abs(plane.height - lesion.centre[2]) > lesion.extent[2] + REACH:
        return None
    (x, y, _), (a, b, _) = lesion.centre, lesion.extent
    level = np.square((plane.xw - x) / a) + np.square((plane.yw - y) / b) + np.square(_up(plane, lesion))
    window = np.clip((1 - level) * np.float32(4), 0, 1)
    if window.max() <= 0:
        return None
    spaces = brain.sulci * np.float32(1.5)
    if lesion.site == "sulci":  # blood widens the sulci that it fills
        folds = np.abs(fold(plane) + np.float32(0.14) * brain.fine)
        shallow = rise(24 - brain.inner, 16) * rise(brain.inner - 1, 2)
        spaces = np.maximum(spaces, np.clip(1.5 - folds / np.float32(0.45), 0, 1) * shallow)
    return np.minimum(window * spaces, 1) * (1 - brain.ventricles)


def _intraventricular(lesion: Lesion, brain: Brain, plane: Plane) -> Field | None:
    if brain.ventricles.max() < 0.3:
        return None
    if lesion.site == "layer":  # patients lie on their back
        return brain.ventricles * rise(plane.frame.y - np.float32(lesion.centre[1]) + 2 * brain.fine, 3)
    cover = np.zeros_like(brain.ventricles)
    rough = np.float32(0.5) * brain.fine
    for shape in lateral_ventricles(plane.frame.head, lesion.side)[:5]:
        if patch := draw(plane, shape, edge=1.6, rough=rough):
            patch.add_to(cover)
    third = (np.abs(plane.xw) < 7) * brain.ventricles * rise(lesion.centre[1] + 10 - np.abs(plane.frame.y), 4)
    return np.maximum(cover, third)


def _intraparenchymal(lesion: Lesion, brain: Brain, plane: Plane) -> Field | None:
    rough = np.float32(lesion.rough) * (np.float32(0.3) * brain.fine + plane.frame.gyri.at(plane.height + 90))
    a, b, c = lesion.extent
    rim = lesion.oedema
    wide = Ellipsoid(lesion.centre, (a + rim, b + rim, c + rim), lesion.angle)
    if rim > 1 and (patch := draw(plane, wide, edge=5, rough=rough)):
        brain.hu[patch.where] -= patch.cover * np.float32(OEDEMA) * (1 - brain.sulci[patch.where])
    patch = draw(plane, Ellipsoid(lesion.centre, lesion.extent, lesion.angle), edge=1.8, rough=rough)
    if patch is None:
        return None
    cover = np.zeros_like(brain.hu)
    patch.add_to(cover)
    return cover * rise(brain.inner - 1.5, 2) * (1 - brain.ventricles)


_COVER = {
    "epidural": _epidural,
    "subdural": _subdural,
    "subarachnoid": _subarachnoid,
    "intraventricular": _intraventricular,
    "intraparenchymal": _intraparenchymal,
}


def _turn(plane: Plane, lesion: Lesion) -> Field:
    """Angle from the lesion's middle, -pi to pi."""
    angle = plane.frame.bearing - np.float32(lesion.bearing)
    return angle - np.float32(2 * np.pi) * np.round(angle * np.float32(1 / (2 * np.pi)))


def _up(plane: Plane, lesion: Lesion) -> Field:
    """Height over the lesion's middle, in its own height."""
    return (plane.z - np.float32(lesion.centre[2])) * np.float32(1 / lesion.extent[2])
