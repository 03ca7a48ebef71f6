"""A slice of a head as HU: brain, skull base, face and wall put together."""

import cv2
import numpy as np

from ich.phantom.brain import Brain
from ich.phantom.face import paint_base, paint_face
from ich.phantom.fields import Box, Field, Index
from ich.phantom.head import GRID, Frame
from ich.phantom.plane import Plane
from ich.phantom.skull import AIR, Profile, base_cover, covered, face_depth, profile, wall_index


def compose(plane: Plane, depth: Field, brain: Brain, rows: int) -> Field:
    """Put brain, skull base, face and wall together.

    Args:
        plane: the slice.
        depth: its `skull.wall_depth`.
        brain: its brain, with bleeds drawn in, over the part of the slice that `skull.enclosed` tells.
        rows: rows and columns of the image.

    Returns:
        HU, shape (rows, rows), float32, before the scanner's noise and artefacts.
    """
    if not plane.low:
        skin = covered(depth, plane)
        plane, depth = plane.part(skin), depth[skin]
    frame, head = plane.frame, plane.frame.head
    image = np.full((rows, rows), AIR, np.float32)
    window, size = image_window(frame, rows)
    index = wall_index(_resize(depth, size), plane, _resize(plane.lean, size))
    contents = brain.hu
    if plane.low:
        base = paint_base(plane.part(brain.frame.box_in(frame)), brain.fine)
        contents = base + brain.cavity * (brain.hu - base)
    tall, wide = (slice(part.start * rows // GRID, part.stop * rows // GRID) for part in brain.frame.box_in(frame))
    hu = _enclose(profile(head, True), index, contents, (tall, wide))
    if plane.low and (cover := base_cover(plane)).min() < 1:
        index = wall_index(_resize(face_depth(plane), size), plane, np.float32(0))
        face = _enclose(profile(head, False), index, paint_face(plane), (slice(None), slice(None)))
        hu = face + _resize(cover, size) * (hu - face)
    image[window] = hu
    return image


def image_window(frame: Frame, rows: int) -> tuple[Box, tuple[int, int]]:
    """Rows and columns of an image of size `rows` that the frame covers, and their number."""
    first = [origin * rows // GRID for origin in frame.origin]
    size = frame.x.shape[0] * rows // GRID, frame.x.shape[1] * rows // GRID
    return (slice(first[0], first[0] + size[0]), slice(first[1], first[1] + size[1])), size


def spread(frame: Frame, values: Field, rows: int) -> Field:
    """A field of the frame on an image of size `rows`, zero around it."""
    image = np.zeros((rows, rows), np.float32)
    window, size = image_window(frame, rows)
    image[window] = _resize(values, size)
    return image


def _enclose(tables: Profile, index: Index, contents: Field, where: Box) -> Field:
    """The wall, and in it `contents`, which covers the rows and columns `where` of the image."""
    hu = tables.wall.take(index)
    share = tables.inside.take(index[where])
    share *= _resize(contents, share.shape)
    hu[where] += share
    return hu


def _resize(image: Field, size: tuple[int, int]) -> Field:
    if size == image.shape:
        return image
    way = cv2.INTER_LINEAR if size[0] > image.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size[::-1], interpolation=way), np.float32)
