"""What a scanner adds: beam hardening, streaks, quantum noise, the head holder, the reconstruction circle, geometry."""

from dataclasses import dataclass

import cv2
import numpy as np

from ich.phantom.brain import Brain
from ich.phantom.fields import TEXTURE_CELLS, Box, Field, bell, ct_texture, positive, rise
from ich.phantom.head import Head
from ich.phantom.plane import Plane


@dataclass(frozen=True)
class Scanner:
    """One series' acquisition."""

    noise: float  # HU, in the brain
    kernel: str
    cupping: float  # HU added under the skull
    bar: float  # HU taken off between the petrous bones
    streaks: float  # HU
    tilt: float  # gantry, degrees
    holder: float  # HU of the head holder's shell; air where the scanner's is transparent
    holder_radius: float  # mm
    circle: float  # radius of the reconstruction circle over half the field of view
    bottom: float  # mm, table position of the lowest slice


def draw_scanner(rng: np.random.Generator, head: Head) -> Scanner:
    """Draw an acquisition."""
    return Scanner(
        noise=float(np.clip(rng.lognormal(1.45, 0.35), 2.3, 8)),
        kernel=str(rng.choice(["standard", "smooth"], p=[0.7, 0.3])),
        cupping=rng.uniform(0, 15),
        bar=rng.uniform(2, 11),
        streaks=rng.uniform(1.5, 5),
        tilt=float(rng.choice([0, rng.uniform(-24, 24)], p=[0.4, 0.6])),
        holder=float(rng.choice([-1000, rng.uniform(-300, 250)], p=[0.35, 0.65])),
        holder_radius=head.half_width + head.scalp + rng.uniform(16, 26),
        circle=rng.uniform(0.97, 1.03),
        bottom=rng.uniform(-300, 300),
    )


def harden(brain: Brain, plane: Plane, scanner: Scanner, rng: np.random.Generator) -> None:
    """Beam hardening: brighter brain under the skull, a dark bar and streaks between the petrous bones.

    Args:
        brain: changed in place; it may cover a part of the slice.
        plane: the whole slice, over which the streaks run.
        scanner: the acquisition.
        rng: the slice's generator.
    """
    brain.hu += np.float32(scanner.cupping) / (1 + np.square(positive(brain.inner) * np.float32(1 / 9)))
    between = float(np.clip(1.3 - abs(plane.height - 4) / 20, 0, 1))
    if between <= 0:
        return
    x, y = brain.frame.x, brain.frame.y
    brain.hu -= np.float32(scanner.bar * between) * bell(y - 12, 11) * bell(x, 34)
    shape = plane.frame.x.shape
    lines = rng.standard_normal((shape[0], 1)).astype(np.float32)
    slanted = cv2.warpAffine(
        np.repeat(cv2.GaussianBlur(lines, (1, 9), 0, sigmaY=1.3), shape[1], 1),
        np.array([[1, 0, 0], [rng.normal(0, 0.06), 1, 0]], np.float32),
        shape[::-1],
        borderMode=cv2.BORDER_REFLECT,
    )[brain.frame.box_in(plane.frame)]
    brain.hu += np.float32(2 * scanner.streaks * between) * slanted * bell(y - 12, 34) * bell(x, 55)


def add_metal(image: Field, rng: np.random.Generator) -> None:
    """A clip: values far over bone, and the star of streaks around it."""
    rows = image.shape[0]
    row, column = (rng.uniform(0.38, 0.62, 2) * rows).astype(int)
    y, x = np.mgrid[:rows, :rows].astype(np.float32) - np.array([row, column], np.float32)[:, None, None]
    distance = np.hypot(x, y) + 1
    star = np.cos(np.arctan2(y, x) * 9 + rng.uniform(0, 6)) * np.exp(-distance / (0.12 * rows))
    image += 350 * star.astype(np.float32)
    image[distance < rows * 0.008 + 1] = rng.uniform(3000, 24000)


def holder(head: Head, scanner: Scanner, rows: int) -> Field:
    """HU of the head holder, a U of thin shell filled with foam, over air; shape (rows, rows), float32."""
    pixel = head.field_of_view / rows
    line = (np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * np.float32(pixel)
    x, y = np.meshgrid(line - head.offset[0] * 0.3, line)
    lowest = head.offset[1] + head.half_length + head.scalp + 3
    centre = lowest - scanner.holder_radius
    below = positive(y - np.float32(centre))
    distance = np.hypot(x, below) - np.float32(scanner.holder_radius)
    shell = rise(1.0 - np.abs(distance), 1.0) * rise(y - np.float32(centre - 20), 4)
    return np.float32(-1000) + shell * np.float32(scanner.holder + 1000)


def expose(image: Field, table: Field, plane: Plane, scanner: Scanner, rng: np.random.Generator) -> Field:
    """Add the holder, noise with CT's texture, and what lies outside the reconstruction circle.

    Args:
        image: HU without noise, shape (rows, rows), float32; changed in place.
        table: the head holder's HU.
        plane: the slice.
        scanner: the acquisition.
        rng: the slice's generator.

    Returns:
        The image.
    """
    rows = image.shape[0]
    np.maximum(image, table, out=image)
    top, left = rng.integers(0, TEXTURE_CELLS - rows, 2)
    flip = 1 - 2 * rng.integers(0, 2, 2)
    texture = ct_texture(scanner.kernel)[top : top + rows, left : left + rows][:: flip[0], :: flip[1]]
    loud = scanner.noise * (1.25 if plane.height < 25 else 1.0)
    image += np.float32(loud) * texture
    return image


def outside_circle(rows: int, circle: float) -> np.ndarray:
    """Pixels outside the reconstruction circle, shape (rows, rows), bool."""
    line = np.square(np.arange(rows) - (rows - 1) / 2)
    return line[:, None] + line > (circle * rows / 2) ** 2


def geometry(
    head: Head, scanner: Scanner, height: float, rows: int, shape: tuple[int, int]
) -> tuple[list[float], list[float]]:
    """ImagePositionPatient and ImageOrientationPatient (PS3.3 C.7.6.2.1.1) of an image of `shape`, mm.

    The gantry is tilted and the table moves along z, so the positions of a series differ in z only.
    """
    tilt = np.deg2rad(scanner.tilt)
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    pixel = head.field_of_view / rows
    left, up = (shape[1] - 1) / 2 * pixel, (shape[0] - 1) / 2 * pixel
    position = [round(-left, 6), round(-up * cos, 6), round(scanner.bottom + height / cos + up * sin, 6)]
    return position, [1.0, 0.0, 0.0, 0.0, round(cos, 9), round(-sin, 9)]


def reshape(image: np.ndarray, shape: tuple[int, int], fill: float) -> np.ndarray:
    """Crop or pad an image about its middle; the size of a pixel stays."""
    if shape == image.shape:
        return image
    result = np.full(shape, fill, image.dtype)
    source, target = zip(*(_overlap(have, want) for have, want in zip(image.shape, shape, strict=True)), strict=True)
    result[target] = image[source]
    return result


def _overlap(have: int, want: int) -> Box:
    size = min(have, want)
    first, second = (have - size) // 2, (want - size) // 2
    return slice(first, first + size), slice(second, second + size)
