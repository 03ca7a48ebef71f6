"""What lies under the skull base: muscles and fat, orbits, air sinuses, jaws, ears, neck."""

import numpy as np

from ich.phantom.fields import Field, bell, rise
from ich.phantom.head import Head
from ich.phantom.plane import Ellipsoid, Plane, draw

FAT, MUSCLE, AIR, BONE = -85.0, 55.0, -1000.0, 900.0
SCLERA, VITREOUS, LENS = 48.0, 10.0, 75.0


def paint_face(plane: Plane) -> Field:
    """HU under the skull base, shape of the frame, float32; the skin is added by the wall profile."""
    head = plane.frame.head
    bundles = plane.frame.bundles.at(plane.height * 0.5)
    share = rise(bundles + 0.35 + np.float32(0.02) * plane.yw, 0.7)
    hu = np.float32(FAT) + np.float32(MUSCLE - FAT) * share
    fine = plane.frame.fine.at(plane.height)
    layers = (
        (_bones(), BONE),
        (_orbits(), FAT),
        (_muscles(), MUSCLE),
        (_globes(12.8), SCLERA),
        (_globes(11.2), VITREOUS),
        (_lenses(), LENS),
    )
    for shapes, value in layers:
        for shape in shapes:
            if patch := draw(plane, shape, edge=1.1):
                patch.paint(hu, value)
    _air(hu, plane, head, fine)
    _spine(hu, plane, fine)
    return hu


def paint_base(plane: Plane, fine: Field) -> Field:
    """HU of the bone that makes the skull base: dense petrous bone, air cells in the mastoids, marrow elsewhere."""
    head = plane.frame.head
    hu = np.float32(750) + 260 * fine
    for side in (-1, 1):
        if patch := draw(plane, Ellipsoid((38 * side, 20, 4), (30, 11, 16), 0.62 * side), edge=3):
            patch.paint(hu, 1500 + 250 * fine[patch.where])
        if patch := draw(plane, Ellipsoid((57 * side, 27, -4), (12, 17, 22), 0.25 * side), edge=3):
            cells = rise(fine[patch.where] - np.float32(0.9 - 1.3 * head.air_cells), 0.7)
            patch.paint(hu, 700 - 1500 * cells)
        if patch := draw(plane, Ellipsoid((52 * side, 12, -2), (14, 3.5, 3.5), 0.0), edge=1):
            patch.paint(hu, AIR)  # ear canal
    for shape in (
        Ellipsoid((0, -12, 2), (13, 12, 9)),
        Ellipsoid((9, -70, 24), (13, 6, 11)),
        Ellipsoid((-10, -70, 26), (12, 6, 13)),
    ):
        if patch := draw(plane, shape, edge=1):
            cells = rise(np.abs(fine[patch.where]) - np.float32(0.12), 0.3)
            patch.paint(hu, 500 - 1500 * cells * np.float32(min(1.0, 0.4 + head.air_cells)))
    return hu


def _bones() -> list[Ellipsoid]:
    """Orbital walls, cheek bones, upper jaw, mandible."""
    shapes = [Ellipsoid((0, -62, -2), (13, 26, 20)), Ellipsoid((0, -58, -38), (26, 20, 9))]
    for side in (-1, 1):
        shapes += [
            Ellipsoid((30 * side, -52, 4), (21, 29, 21), 0.3 * side),
            Ellipsoid((28 * side, -58, -25), (16.3, 18.4, 16.5), 0.2 * side),
            Ellipsoid((57 * side, -48, -8), (5, 14, 8), 0.4 * side),
            Ellipsoid((66 * side, -24, -13), (2.6, 22, 3.5), 0.08 * side),
            Ellipsoid((53 * side, -6, -14), (8, 5, 8), 0.2 * side),
            Ellipsoid((50 * side, -16, -40), (4, 15, 22), -0.1 * side),
            Ellipsoid((13 * side, -22, -24), (3, 12, 16), -0.3 * side),
        ]
    return shapes


def _orbits() -> list[Ellipsoid]:
    """Cones of fat, and the fat under the cheek bones."""
    shapes = []
    for side in (-1, 1):
        shapes += [
            Ellipsoid((31 * side, -64, 3), (17, 21, 17), 0.3 * side),
            Ellipsoid((24 * side, -44, 3), (9, 20, 11), 0.42 * side),
            Ellipsoid((52 * side, -36, -14), (6, 14, 16), 0.2 * side),
        ]
    return shapes


def _muscles() -> list[Ellipsoid]:
    """Straight muscles of the eye, optic nerves, muscles of mastication, lid and nose."""
    shapes = [Ellipsoid((0, -98, -14), (12, 14, 22))]
    for side in (-1, 1):
        shapes += [
            Ellipsoid((18 * side, -57, 3), (2.0, 15, 4), 0.12 * side),
            Ellipsoid((37 * side, -55, 3), (2.0, 17, 4), 0.65 * side),
            Ellipsoid((24 * side, -52, 3), (1.8, 16, 2.2), 0.42 * side),
            Ellipsoid((28 * side, -55, 15), (5, 15, 2.4), 0.35 * side),
            Ellipsoid((58 * side, -28, -4), (6, 20, 20), 0.15 * side),
            Ellipsoid((44 * side, -14, -28), (10, 17, 14), 0.35 * side),
            Ellipsoid((33 * side, -86, 3), (15, 3.0, 9), 0.25 * side),
        ]
    return shapes


def _globes(radius: float) -> list[Ellipsoid]:
    return [Ellipsoid((31 * side, -71, 3), (radius, radius, radius)) for side in (-1, 1)]


def _lenses() -> list[Ellipsoid]:
    return [Ellipsoid((32 * side, -81, 3), (4.2, 1.8, 4)) for side in (-1, 1)]


def _air(hu: Field, plane: Plane, head: Head, fine: Field) -> None:
    """Nasal cavity with septum and turbinates, ethmoid, maxillary and sphenoid sinuses, pharynx."""
    septa = rise(np.float32(0.16) - np.abs(fine), 0.2)
    for centre, radii, share in (((0, -62, 3), (10.5, 24, 15), 0.75), ((0, -14, 0), (12, 11, 9), 0.5)):
        if patch := draw(plane, Ellipsoid(centre, radii), edge=1):
            patch.paint(hu, AIR + 1500 * np.float32(share) * septa[patch.where])
    if patch := draw(plane, Ellipsoid((0, -66, -24), (13, 28, 16)), edge=1):
        turbinate = bell(np.abs(plane.xw[patch.where]) - 7, 2.2) * rise(fine[patch.where] + 0.6, 0.6)
        patch.paint(hu, AIR + 1050 * turbinate)
    if patch := draw(plane, Ellipsoid((0.8, -66, -18), (0.9, 30, 24)), edge=1):
        patch.paint(hu, 250.0)
    for side in (-1, 1):
        if patch := draw(plane, Ellipsoid((28 * side, -58, -25), (15, 17, 15), 0.2 * side), edge=1):
            patch.paint(hu, AIR if head.air_cells > 0.45 or side > 0 else 25.0)
    if patch := draw(plane, Ellipsoid((0, -26, -30), (12, 9, 24)), edge=1):
        patch.paint(hu, AIR)


def _spine(hu: Field, plane: Plane, fine: Field) -> None:
    """Occipital condyles and atlas around the spinal canal with the cord."""
    if plane.height > 20:
        return
    for side in (-1, 1):
        if patch := draw(plane, Ellipsoid((19 * side, 22, -36), (9, 13, 12), 0.4 * side), edge=1.5):
            patch.paint(hu, 850 + 200 * fine[patch.where])
    for shape, value in (
        (Ellipsoid((0, 34, -46), (25, 27, 9)), 850.0), (Ellipsoid((0, 32, -46), (17, 19, 30)), 8.0),
        (Ellipsoid((0, 33, -40), (14.5, 17, 40)), 8.0), (Ellipsoid((0, 31, -40), (6.5, 5.5, 60)), 34.0),
        (Ellipsoid((0, 11, -46), (5, 5, 14)), 950.0),
    ):  # fmt: skip
        if patch := draw(plane, shape, edge=1.2):
            patch.paint(hu, value)
