"""Scalp and skull: HU as a function of the depth under the skull's outer surface, blurred as obliquely as it is cut."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ich.phantom.fields import Box, Field, Index, rise
from ich.phantom.head import Head
from ich.phantom.plane import SHELL, Ellipsoid, Plane, draw

STEP = 0.1  # mm between entries of the profile
FIRST, LAST = -30.0, 30.0  # mm of depth that the profile spans; outside it is air, inside the skull's contents
WIDTHS = np.geomspace(0.8, 14, 24)  # mm over which an edge can be blurred
AIR = -1000.0
SIGMAS = 2.8  # a width has so many of the Gaussian that blurs over it
KERNEL = 4 / SIGMAS  # how far it reaches in OpenCV, in widths
GALEA = 1.3  # mm of galea and pericranium


@dataclass(frozen=True)
class Profile:
    """HU of the wall, and the share of a pixel that belongs to what it encloses: shape (len(WIDTHS), depths)."""

    wall: Field
    inside: Field


@lru_cache(maxsize=4)
def profile(head: Head, bone: bool) -> Profile:
    """The wall of the head: scalp and skull, or (under the skull base) scalp alone.

    Depth is in mm under the outer surface, where the skull is scaled to a thickness of 1 mm per millimetre of
    `head.skull`; `Plane` gives real depths, `wall_index` scales them.
    """
    depth = np.arange(FIRST, LAST, STEP)
    hu = np.full_like(depth, AIR)
    inside = np.zeros_like(depth)
    skin = -head.scalp
    hu[(depth >= skin)] = 45
    hu[(depth >= skin + 2.2)] = -70
    hu[(depth >= -GALEA)] = 45
    if bone:
        skull = head.skull
        for start, value in ((0, 1.0), (0.30, 0.52), (0.66, 1.06)):
            hu[depth >= start * skull] = head.bone * value
        inside[depth >= skull] = 1
    else:
        hu[depth >= -1.2] = -60
        inside[depth >= -0.5] = 1
    hu = hu * (1 - inside)
    return Profile(_blur(hu), _blur(inside))


def _blur(values: Field) -> Field:
    """The profile averaged over each of WIDTHS, edges repeated."""
    rows = [cv2.GaussianBlur(values.astype(np.float32)[None], (0, 0), sigmaX=w / STEP / SIGMAS, sigmaY=0.01,
                             borderType=cv2.BORDER_REPLICATE)[0] for w in WIDTHS]  # fmt: skip
    return np.ascontiguousarray(np.stack(rows), np.float32)


def wall_depth(plane: Plane) -> Field:
    """Depth on the scale of `profile`: the skull's local thickness is stretched to its mean.

    The temporal muscle is as dense as the galea, so the galea is drawn out to make room for it.
    """
    frame = plane.frame
    ratio = frame.thickness / np.float32(frame.head.skull)
    inner = plane.depth - frame.thickness
    muscle = frame.temple * rise(74 - plane.z, 30)
    outer = np.minimum((plane.depth + muscle) / frame.scalp, np.clip(plane.depth, np.float32(-GALEA / 2), np.inf))
    return np.where(
        plane.depth < 0, outer, np.where(inner < 0, plane.depth / ratio, inner + np.float32(frame.head.skull))
    )


def wall_index(depth: Field, plane: Plane, lean: Field | np.float32) -> Index:
    """Flat index into `profile`'s tables for each pixel; `depth` and `lean` may be at the image's own size."""
    columns = round((LAST - FIRST) / STEP)
    row = np.asarray(np.float32(plane.slab) * lean)  # in place from here on: new arrays are what the time goes to
    row += np.float32(WIDTHS[0])
    row /= np.float32(WIDTHS[0])
    np.log(row, out=row)
    row *= np.float32((len(WIDTHS) - 1) / np.log(WIDTHS[-1] / WIDTHS[0]))
    column = depth - np.float32(FIRST)
    column *= np.float32(1 / STEP)
    index = _whole(row, len(WIDTHS) - 1)
    index *= columns
    return index + _whole(column, columns - 1)


def _whole(position: Field, last: int) -> Index:
    """Whole part of a position in a table, kept between 0 and `last`; `position` is used up."""
    return position.clip(0, last, out=position).astype(np.int32)


def enclosed(depth: Field, plane: Plane) -> Box:
    """Rows and columns outside which `profile.inside` is 0: what lies inside the skull need not be drawn there."""
    return _deeper(plane.frame.head.skull, depth, plane)


def covered(depth: Field, plane: Plane) -> Box:
    """Rows and columns outside which `profile.wall` is air, in slices that are not `Plane.low`."""
    return _deeper(-plane.frame.head.scalp, depth, plane)


def _deeper(level: float, depth: Field, plane: Plane) -> Box:
    """Bounds of the pixels whose edges, as blurred as they are, reach a depth; even, so that half-size images line up.

    Args:
        level: the depth, mm.
        depth: `wall_depth` of the slice.
        plane: the slice.
    """
    reach = plane.lean * np.float32(KERNEL * plane.slab)
    reach += depth
    deeper = reach > np.float32(level - KERNEL * WIDTHS[0] - 3 * STEP)  # OpenCV rounds its kernels up
    deeper.flat[depth.argmax()] = True  # never empty
    return _bounds(np.any(deeper, axis=1)), _bounds(np.any(deeper, axis=0))


def _bounds(found: np.ndarray) -> slice:
    """Of what is true, and two more on each side, for resizing."""
    places = np.flatnonzero(found)
    return slice(max(int(places[0]) - 2, 0) & ~1, min((int(places[-1]) + 4) & ~1, len(found)))


def base_cover(plane: Plane) -> Field:
    """Share of a pixel that lies over the underside of the skull base, 0 to 1."""
    return rise(plane.above + np.float32(SHELL), plane.floor_edge)


def face_depth(plane: Plane) -> Field:
    """Depth under the skin of the face, on the scale of `profile`: the head's outline with nose and ears."""
    head = plane.frame.head
    front, side = head.half_length, head.half_width
    shapes = [Ellipsoid((0, -front - 6, -14), (9, 15, 15)), Ellipsoid((0, -front - 1, -2), (6, 9, 14))]
    for sign in (-1, 1):
        shapes += [
            Ellipsoid((sign * (side + 9), 14, -4), (1.4, 13, 22), 0.5 * sign),
            Ellipsoid((sign * (side + 11), 22, -2), (4.5, 1.5, 18), 0.3 * sign),
            Ellipsoid((sign * (side + 7), 6, -8), (5.0, 2.0, 9), 0.2 * sign),
        ]
    grown = plane.depth.copy()
    for shape in shapes:
        if patch := draw(plane, shape, edge=2.0):
            part = grown[patch.where]
            np.maximum(part, patch.cover * 2 - np.float32(head.scalp + 1), out=part, where=patch.cover > 0)
    return grown
