"""One patient's head as numbers (drawn), and as a frame of fields on the pixel grid (built from the numbers)."""

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ich.phantom import fields
from ich.phantom.fields import Box, Field

GRID = 256  # the field of view is 256 x 256 pixels of anatomy, whatever the size of the images
AROUND = 2 * fields.CELLS * fields.CELL_MM  # mm: two periods of the noise, about the circumference of the brain
MARGIN = 26.0  # mm of room around the skull for scalp, ears and nose


@dataclass(frozen=True)
class Head:
    """What differs from head to head. Lengths in mm, angles in radians, HU where named so."""

    half_width: float
    half_length: float
    vertex: float  # height of the top of the skull
    harmonics: tuple[float, ...]  # cosine and sine amplitudes of the outline, orders 2 to 6
    skull: float  # thickness
    scalp: float
    atrophy: float  # 0 young, 1 old: width of sulci and ventricles
    ventricles: float  # factor on the size of the ventricles
    asymmetry: float  # left-right difference of the ventricles
    grey: float  # HU
    white: float  # HU
    fluid: float  # HU of cerebrospinal fluid
    dura: float  # HU of falx and tentorium
    vessel: float  # HU of venous sinuses and arteries
    bone: float  # HU of the tables
    air_cells: float  # 0 to 1: how much of sinuses and mastoids is filled with air
    rotation: float
    pitch: float  # slope of the slice plane against the head, front to back
    roll: float  # the same, left to right
    offset: tuple[float, float]
    field_of_view: float
    seed: int


def draw_head(rng: np.random.Generator) -> Head:
    """Draw a head."""
    age = rng.beta(1.6, 1.3)
    grey = rng.uniform(34.5, 46)  # calibration, tube voltage and haematocrit
    half_width = rng.normal(70, 2.5)
    half_length = rng.normal(88, 3)
    return Head(
        half_width=half_width,
        half_length=half_length,
        vertex=rng.normal(128, 4),
        harmonics=tuple(rng.normal(0, [0.006, 0.006, 0.006, 0.006, 0.004, 0.004, 0.003, 0.003, 0.002, 0.002]).tolist()),
        skull=float(np.clip(rng.normal(6.6, 1.0), 4.5, 9.5)),
        scalp=float(np.clip(rng.normal(5.5, 1.3), 3.2, 9)),
        atrophy=age,
        ventricles=float(np.exp(rng.normal(-0.18 + 0.42 * age, 0.16))),
        asymmetry=rng.normal(0, 0.07),
        grey=grey,
        white=grey - float(np.clip(rng.normal(8.0, 1.4), 5, 11)),
        fluid=rng.uniform(3, 11),
        dura=rng.uniform(46, 62),
        vessel=rng.uniform(46, 66),
        bone=rng.normal(1330, 90),
        air_cells=rng.uniform(0.3, 1),
        rotation=math.radians(rng.normal(0, 5)),
        pitch=math.tan(math.radians(rng.normal(0, 5))),
        roll=math.tan(math.radians(rng.normal(0, 2.2))),
        offset=(rng.normal(0, 5), rng.normal(0, 8)),
        field_of_view=float(np.clip(rng.normal(242, 10), 2.35 * half_length + 15, 290)),
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Frame:
    """Fields that all slices of one head share: the part of the GRID x GRID field of view that holds the head.

    float32, mm unless said otherwise.
    """

    head: Head
    origin: tuple[int, int]  # row and column of the first pixel in the field of view
    x: Field
    y: Field
    tilt: Field  # height of the pixel above the slice's own height
    reach: Field  # distance from the axis over the radius of the outer skull; 1 on the skull at its widest
    slope: Field  # gradient of `reach`, 1/mm
    bearing: Field  # angle around the head: 0 front, + to the patient's left, radians
    floor: Field  # height of the skull base
    steep: Field  # gradient of `floor`, at most 4
    thickness: Field  # of the skull
    scalp: Field  # thickness of the scalp over its mean
    temple: Field  # thickness of the temporal muscle
    pixel: float  # mm
    forward: Field  # 1 in front of the head, 0 elsewhere
    shift: Field  # mm by which a mass pushes the middle of the brain to the patient's right
    gyri: fields.Noise
    radial: fields.Noise  # like gyri, drawn out towards the axis of the head
    radial_share: Field  # 0 to 1: how much of it there is
    coarse: fields.Noise
    coarse2: fields.Noise
    fine: fields.Noise
    bundles: fields.Noise  # mirrored at the midline: muscles

    def part(self, where: Box) -> "Frame":
        """The same head in some rows and columns alone."""
        origin = (self.origin[0] + where[0].start, self.origin[1] + where[1].start)
        return replace(self, origin=origin, **parts(self, where))

    def box_in(self, whole: "Frame") -> Box:
        """Rows and columns of `whole` that this part of it has."""
        starts = [own - its for own, its in zip(self.origin, whole.origin, strict=True)]
        rows, columns = (slice(start, start + size) for start, size in zip(starts, self.x.shape, strict=True))
        return rows, columns


def parts(whole: Any, where: Box) -> dict[str, Any]:
    """Some rows and columns of all of a dataclass's fields that have rows and columns."""
    values = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    arrays = {name: value[where] for name, value in values.items() if isinstance(value, np.ndarray)}
    return arrays | {name: value.part(where) for name, value in values.items() if isinstance(value, fields.Noise)}


def build_frame(head: Head, mass: float = 0.0) -> Frame:
    """Lay the head over the pixel grid; `mass` is the midline shift to the patient's right, mm."""
    rng = np.random.default_rng(head.seed)
    pixel = head.field_of_view / GRID
    line = (np.arange(GRID, dtype=np.float32) - (GRID - 1) / 2) * pixel
    rows, columns = (
        _span(line, head.offset[1], head.half_length + MARGIN),
        _span(line, head.offset[0], head.half_width + MARGIN),
    )
    column, row = np.meshgrid(line[columns] - np.float32(head.offset[0]), line[rows] - np.float32(head.offset[1]))
    cos, sin = np.float32(np.cos(head.rotation)), np.float32(np.sin(head.rotation))
    x, y = cos * column + sin * row, cos * row - sin * column
    distance = np.maximum(np.hypot(x, y), np.float32(0.1))
    bearing = np.arctan2(x, -y)
    radius, gradient = _outline(head, bearing)
    reach = distance / radius
    floor = _skull_base(x, y, rng)
    floor += 1.0 * fields.noise(fields.volume(21.0, 0.22, 0), np.abs(x), y, rng).at(0) * (floor > -60)
    return Frame(
        head=head, origin=(rows.start, columns.start), x=x, y=y, pixel=pixel, bearing=bearing, floor=floor,
        tilt=np.float32(head.pitch) * y + np.float32(head.roll) * x,
        reach=reach,
        slope=gradient / radius,
        steep=np.minimum(np.hypot(*np.gradient(floor, pixel)), 4).astype(np.float32),
        thickness=_thickness(head, bearing, rng),
        scalp=_scalp(bearing, rng),
        temple=np.float32(rng.uniform(3, 8)) * fields.bell(np.abs(bearing) - np.float32(1.15), 0.42),
        forward=np.square(np.maximum(np.cos(bearing), 0)),
        shift=np.float32(mass) * np.exp(-np.square(x / 42)) * np.maximum(1 - np.square(y / 74), 0),
        radial=fields.noise(fields.volume(21.0, 0.22, 0), bearing * (AROUND / (2 * np.pi)), (1 - reach) * 26, rng),
        radial_share=fields.rise(reach - np.float32(0.55), 0.5),
        gyri=fields.noise(fields.volume(21.0, 0.22, 0), x, y, rng),
        coarse=fields.noise(fields.volume(45.0, 0.35, 1), x, y, rng),
        coarse2=fields.noise(fields.volume(45.0, 0.35, 1), x, y, rng),
        fine=fields.noise(fields.volume(7.0, 0.4, 2), x, y, rng),
        bundles=fields.noise(fields.volume(14.0, 0.3, 3), np.abs(x), y, rng),
    )  # fmt: skip


def _span(line: Field, centre: float, reach: float) -> slice:
    inside = np.flatnonzero(np.abs(line - centre) < reach)
    return slice(int(inside[0]) & ~1, (int(inside[-1]) + 2) & ~1)  # even, so that half-size images line up


def _outline(head: Head, bearing: Field) -> tuple[Field, Field]:
    """Radius of the outer skull at its widest level, and sqrt(1 + (dR/dt / R)^2), at each pixel."""
    t = np.linspace(-np.pi, np.pi, 1025)
    width = head.half_width * (1 - 0.055 * np.cos(t) - 0.02 * np.cos(2 * t))
    radius = 1 / np.hypot(np.sin(t) / width, np.cos(t) / head.half_length)
    for order, (c, s) in enumerate(zip(head.harmonics[::2], head.harmonics[1::2], strict=True), start=2):
        radius = radius * (1 + c * np.cos(order * t) + s * np.sin(order * t))
    gradient = np.sqrt(1 + np.square(np.gradient(radius, t) / radius))
    index = ((bearing + np.pi) * (1024 / (2 * np.pi))).astype(np.int32)
    return radius.astype(np.float32)[index], gradient.astype(np.float32)[index]


def _thickness(head: Head, bearing: Field, rng: np.random.Generator) -> Field:
    """Thickness of the skull: thin at the temples, thick in front and behind."""
    relative = 1 + 0.16 * np.cos(2 * bearing) - 0.05 * np.cos(bearing)
    for order, spread in ((2, 0.05), (3, 0.05), (5, 0.03), (8, 0.025), (13, 0.02)):
        relative += rng.normal(0, spread) * np.cos(order * bearing + rng.uniform(0, 2 * np.pi))
    return (head.skull * np.maximum(relative, 0.4)).astype(np.float32)


def _scalp(bearing: Field, rng: np.random.Generator) -> Field:
    """Thickness of the scalp over its mean: thickest behind."""
    relative = 1 - 0.15 * np.cos(bearing)
    for order, spread in ((1, 0.08), (2, 0.05), (3, 0.05), (7, 0.03)):
        relative += rng.normal(0, spread) * np.cos(order * bearing + rng.uniform(0, 2 * np.pi))
    return np.maximum(relative, 0.5).astype(np.float32)


def _well(x: Field, y: Field, centre: tuple[float, float], radii: tuple[float, float], edge: float) -> Field:
    """1 in an ellipse, 0 outside, falling over about `edge` mm."""
    inside = (1 - np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])) * min(radii)
    return fields.rise(inside, edge)


def _skull_base(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """Height of the floor of the skull: three fossae on each side, petrous ridges, sella, clivus, foramen magnum."""
    jitter = rng.normal(0, 1.5, 12)
    side = np.abs(x)
    level = np.full_like(x, 20 + jitter[0])
    roof = np.exp(-np.square((side - 27) / 15) - np.square((y + 52) / 20))
    level += (7 + jitter[1]) * roof - 9 * np.exp(-np.square(x / 8) - np.square((y + 55) / 18))
    middle = _well(side, y, (41, -8 + jitter[2]), (27, 31), 14)
    level += (-9 + jitter[3] - level) * middle
    behind = _well(x, y, (0, 38), (62, 44), 16)
    level += (-24 + 0.004 * np.square(side) - level) * behind
    along = (side - 10) * 0.78 + (y - 0) * 0.62  # petrous ridge: from the clivus backwards and outwards
    across = -(side - 10) * 0.62 + (y - 0) * 0.78
    ridge = fields.bell(across, 8.5) * fields.rise(along, 10) * fields.rise(78 - along, 10)
    level += np.maximum(15 + jitter[4] - level, 0) * ridge
    sella = fields.bell(x, 9) * fields.bell(y + 11, 10)
    level += np.maximum(11 + jitter[5] - level, 0) * sella
    clivus = fields.bell(x, 12) * fields.bell(y - 2, 9)
    level += np.maximum(8 + jitter[6] - level, 0) * clivus
    foramen = _well(x, y, (0, 33 + jitter[7]), (14.5, 17), 5)
    level -= 150 * foramen
    return level.astype(np.float32)
