"""What a radiologist would check first: densities, a closed skull, agreement of neighbouring slices, CT's noise."""

import numpy as np
import pytest
from scipy import ndimage

from ich.phantom.anatomy import compose, image_window, spread
from ich.phantom.brain import paint_brain
from ich.phantom.fields import ct_texture
from ich.phantom.head import Frame, build_frame, draw_head
from ich.phantom.plane import cut
from ich.phantom.scanner import draw_scanner, geometry
from ich.phantom.skull import enclosed, profile, wall_depth, wall_index


@pytest.fixture(scope="module")
def frame() -> Frame:
    return build_frame(draw_head(np.random.default_rng(5)))


def image(frame: Frame, height: float, rows: int = 256) -> np.ndarray:
    plane = cut(frame, height, 5.0)
    depth = wall_depth(plane)
    return compose(plane, depth, paint_brain(plane.part(enclosed(depth, plane))), rows)


def test_skull_encloses_the_brain(frame: Frame) -> None:
    hu = image(frame, 65)
    inside = ndimage.binary_fill_holes(hu > 300) & (hu <= 300)
    area = inside.sum() * frame.pixel**2
    assert 11_000 < area < 21_000  # mm^2
    assert 24 < np.median(hu[inside]) < 42
    assert hu[0, 0] == -1000


def test_densities_in_order(frame: Frame) -> None:
    plane = cut(frame, 60, 5.0)
    brain = paint_brain(plane)
    deep = brain.inner > 6
    fluid = brain.hu[(brain.ventricles > 0.95) & deep]
    tissue = brain.hu[(brain.ventricles == 0) & (brain.sulci == 0) & deep]
    assert fluid.size > 100
    assert fluid.mean() < 13 < 24 < tissue.mean() < 42


@pytest.mark.parametrize("rows", [128, 256, 512])
def test_image_size_does_not_move_the_head(frame: Frame, rows: int) -> None:
    hu = image(frame, 65, rows)
    assert hu.shape == (rows, rows)
    centre = np.array(ndimage.center_of_mass(hu > 300)) / rows
    np.testing.assert_allclose(centre, np.array(ndimage.center_of_mass(image(frame, 65) > 300)) / 256, atol=0.004)


def test_neighbouring_slices_agree_and_distant_ones_do_not(frame: Frame) -> None:
    here, near, far = (image(frame, height)[100:156, 100:156].ravel() for height in (70, 71, 95))
    assert np.corrcoef(here, near)[0, 1] > 0.9 > 0.6 > np.corrcoef(here, far)[0, 1]


@pytest.mark.parametrize("height", [-28, 4, 40, 70, 110, 127, 140])
def test_part_of_a_slice_holds_all_that_the_skull_encloses(frame: Frame, height: float) -> None:
    plane = cut(frame, height, 5.0)
    depth = wall_depth(plane)
    rows, columns = where = enclosed(depth, plane)
    share = profile(frame.head, True).inside.take(wall_index(depth, plane, plane.lean))
    share[rows.start + 2 : rows.stop - 2, columns.start + 2 : columns.stop - 2] = 0  # two more, for resizing
    assert not share.any()
    assert depth[where].size < 0.7 * depth.size


@pytest.mark.parametrize("height", [-28, 4, 40, 70, 110, 127, 140])
@pytest.mark.parametrize("rows", [128, 256, 512])
def test_image_of_the_parts_is_that_of_the_whole(frame: Frame, height: float, rows: int) -> None:
    plane = cut(frame, height, 5.0)
    depth = wall_depth(plane)
    part = paint_brain(plane.part(enclosed(depth, plane)))
    whole = paint_brain(plane)
    if plane.low:
        expected = compose(plane, depth, whole, rows)
    else:  # the wall is drawn in part, too
        brain, depths, lean = (spread(frame, field, rows) for field in (whole.hu, depth, plane.lean))
        index = wall_index(depths, plane, lean)
        tables = profile(frame.head, True)
        expected = tables.wall.take(index) + tables.inside.take(index) * brain
        window, _ = image_window(frame, rows)
        outside = np.ones((rows, rows), bool)
        outside[window] = False
        expected[outside] = -1000
    np.testing.assert_allclose(compose(plane, depth, part, rows), expected, atol=0.001)


def test_there_is_only_air_above_the_head(frame: Frame) -> None:
    assert image(frame, frame.head.vertex + 35).max() < -900


def test_low_slices_hold_air_filled_sinuses_and_fat(frame: Frame) -> None:
    hu = image(frame, 0)
    head = ndimage.binary_fill_holes(hu > -300)
    assert ((hu < -700) & ndimage.binary_erosion(head, iterations=8)).sum() > 100
    assert ((hu > -110) & (hu < -60)).sum() > 200


def test_noise_has_the_correlation_of_real_slices() -> None:
    texture = ct_texture("standard")
    lags = [float((texture[:, :-lag] * texture[:, lag:]).mean()) for lag in (1, 2, 3)]
    assert 0.5 < lags[0] < 0.8
    assert -0.1 < lags[1] < 0.35
    assert -0.4 < lags[2] < 0.1


def test_tilted_positions_differ_in_z_only_and_keep_the_spacing() -> None:
    rng = np.random.default_rng(3)
    head = draw_head(rng)
    scanner = draw_scanner(rng, head)
    assert scanner.tilt != 0
    (first, orientation), (second, _) = (geometry(head, scanner, height, 512, (512, 512)) for height in (10.0, 15.0))
    normal = np.cross(orientation[:3], orientation[3:])
    assert first[:2] == second[:2]
    assert np.dot(normal, np.subtract(second, first)) == pytest.approx(5.0, abs=1e-5)
