"""One slice through a head: where its pixels lie, how deep under the skull, and the shapes drawn in it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ich.phantom.fields import Box, Field, positive, rise
from ich.phantom.head import GRID, Frame, parts

WIDEST = 42.0  # mm above the orbitomeatal line: where the skull is widest
SHELL = 4.5  # mm of bone under the floor of the skull


@dataclass(frozen=True)
class Plane:
    """Fields of one slice, or of a part of it, shape of `frame`, float32, mm."""

    frame: Frame
    height: float  # of the slice
    slab: float  # slice thickness
    z: Field  # height of each pixel
    depth: Field  # under the outer surface of the skull, in 3-D
    lean: Field  # |z component| of the skull's normal: how obliquely the slice cuts it
    above: Field  # over the floor of the skull
    floor_edge: Field  # distance over which partial volume blurs the floor
    low: bool  # whether the slice touches the skull base

    @property
    def inner(self) -> Field:
        """Depth under the inner table."""
        return self.depth - self.frame.thickness

    @cached_property
    def xw(self) -> Field:
        """`frame.x` bent by smooth noise: shapes drawn in it look grown. The midline is straight."""
        frame = self.frame
        bend = np.clip(np.float32(0.4) + np.abs(frame.x) * np.float32(0.06), 0, np.float32(2.4))
        return frame.x + bend * frame.coarse.at(self.height) + frame.shift

    @cached_property
    def yw(self) -> Field:
        """`frame.y`, bent likewise."""
        return self.frame.y + np.float32(2.2) * self.frame.coarse2.at(self.height)

    def part(self, where: Box) -> "Plane":
        """The same slice, `where` alone."""
        return replace(self, frame=self.frame.part(where), **parts(self, where))


def cut(frame: Frame, height: float, slab: float) -> Plane:
    """Cut a slice of thickness `slab` at `height` (mm)."""
    z = frame.tilt + np.float32(height)
    up = positive(z - WIDEST) / np.float32(frame.head.vertex - WIDEST)
    root = np.sqrt(up)
    dome = up * up * root  # exponent 2.5: steeper side walls and a flatter top than an ellipsoid
    down = positive(WIDEST - z) / np.float32(75)
    taper = 1 - down * down * (np.float32(0.10) - np.float32(0.2) * frame.forward)
    reach = frame.reach / taper
    level = np.sqrt(reach * reach + dome)
    in_plane = reach * frame.slope / (level * taper)
    through = 1.25 * up * root / (level * np.float32(frame.head.vertex - WIDEST))
    steep = np.clip(np.sqrt(in_plane * in_plane + through * through), np.float32(0.004), np.inf)
    above = z - frame.floor
    return Plane(
        frame=frame, height=height, slab=slab, z=z,
        depth=(1 - level) / steep,
        lean=through / steep,
        above=above,
        floor_edge=np.float32(slab + 1) + frame.steep,
        low=bool(above.min(initial=99, where=frame.floor > -60) < SHELL + slab) or height < 45,
    )  # fmt: skip


@dataclass(frozen=True)
class Ellipsoid:
    """Centre, radii (mm) and the angle by which it is turned in the axial plane (radians, front to left)."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0


@dataclass(frozen=True)
class Patch:
    """Part of the grid with a coverage from 0 to 1."""

    where: Box
    cover: Field

    def paint(self, image: Field, value: Field | float) -> None:
        """Blend `value` into `image`."""
        part = image[self.where]
        part += self.cover * (value - part)

    def add_to(self, mask: Field) -> None:
        """Unite with a coverage."""
        part = mask[self.where]
        np.maximum(part, self.cover, out=part)


def draw(
    plane: Plane, shape: Ellipsoid, edge: float = 1.5, warped: bool = True, rough: Field | None = None
) -> Patch | None:
    """Coverage of an ellipsoid in a slice, partial volume included; None where the slice misses it.

    Args:
        plane: the slice.
        shape: the ellipsoid, in head coordinates.
        edge: softness of its surface in mm.
        warped: whether it follows the bent coordinates.
        rough: added to the distance from the surface, mm.
    """
    (cx, cy, cz), (ra, rb, rc) = shape.centre, shape.radii
    frame = plane.frame
    head = frame.head
    height = plane.height + head.pitch * cy + head.roll * cx
    spread = plane.slab / 2 + edge + (6 if rough is not None else 0) + abs(head.pitch) * rb + abs(head.roll) * ra
    if abs(height - cz) > rc + spread:
        return None
    where = _box(frame, cx, cy, max(ra, rb) + edge + 5 + (6 if rough is not None else 0))
    if plane.z[where].size == 0:
        return None
    u = (plane.xw if warped else frame.x)[where] - np.float32(cx)
    v = (plane.yw if warped else frame.y)[where] - np.float32(cy)
    if shape.angle:
        cos, sin = np.float32(math.cos(shape.angle)), np.float32(math.sin(shape.angle))
        u, v = cos * u + sin * v, cos * v - sin * u
    u /= np.float32(ra)
    v /= np.float32(rb)
    w = (plane.z[where] - np.float32(cz)) / np.float32(rc)
    level, pull = _norm(u, v, w), _norm(u / ra, v / rb, w / rc)
    level += np.float32(1e-3)
    pull += np.float32(1e-4)
    distance = 1 - level
    distance *= level
    distance /= pull
    if rough is not None:
        distance += rough[where]
    softness = np.abs(w)
    softness *= np.float32(plane.slab)
    pull *= np.float32(rc)
    softness /= pull
    softness += np.float32(edge)
    return Patch(where, rise(distance, softness))


def _norm(u: Field, v: Field, w: Field) -> Field:
    """Length of the vectors (u, v, w); in place, since new arrays are what the time goes to."""
    total, square = u * u, v * v
    total += square
    np.multiply(w, w, out=square)
    total += square
    return np.sqrt(total, out=total)


def _box(frame: Frame, x: float, y: float, radius: float) -> Box:
    """Rows and columns of a square of half side `radius` around a point of the head."""
    head = frame.head
    cos, sin = math.cos(head.rotation), math.sin(head.rotation)
    column = (cos * x - sin * y + head.offset[0]) / frame.pixel + (GRID - 1) / 2 - frame.origin[1]
    row = (sin * x + cos * y + head.offset[1]) / frame.pixel + (GRID - 1) / 2 - frame.origin[0]
    reach = radius / frame.pixel
    return (
        slice(max(math.floor(row - reach), 0), max(math.floor(row + reach) + 2, 0)),
        slice(max(math.floor(column - reach), 0), max(math.floor(column + reach) + 2, 0)),
    )
