import numpy as np
import pytest

from ich.dicom.header import SlicePlane
from ich.dicom.read import read_header
from ich.dicom.series import order_series


def axial(place):
    return SlicePlane(None if place is None else (0.0, 0.0, place), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))


def test_order_spacing_ties_and_uneven_steps():
    order = order_series([axial(place) for place in (10.0, 0.0, 5.125 + 1e-12, 5.125 - 1e-12, 22.0, None)])
    assert order.order == (1, 2, 3, 0, 4, 5)  # the tie keeps the order given, the unknown position comes last
    assert order.slice_spacing_mm == pytest.approx(5.125)
    assert (order.ties, order.uneven_steps) == (1, 1)


def test_a_position_beyond_all_numbers_is_none():
    tilted = (1, 0, 0, 0, 0.707, -0.707)
    places = [(0.0, -place, -place) for place in (0.0, 5.0, 1.7e308, 15.0)]  # the third gives an infinite sum
    order = order_series([SlicePlane(place, tilted) for place in places])
    assert sorted(order.order) == [0, 1, 2, 3]
    assert (order.order[-1], order.without_position) == (2, 1)


def test_series_without_positions():
    order = order_series([SlicePlane((0.0, 0.0, 5.0), None), SlicePlane((0.0, 0.0, 0.0), None)])
    assert order.order == (0, 1)
    assert np.isnan(order.slice_spacing_mm)


@pytest.fixture
def header(dicom_slice):
    """A slice's header, by its place along the patient: header(place_mm, **tags)."""

    def build(place, **tags):
        tags = {"ImagePositionPatient": [0, 0, place]} | tags
        return read_header(dicom_slice("slice", np.zeros((4, 4), np.int16), **tags))

    return build


SAGITTAL = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [7, -100, 90]}


def test_a_scout_that_comes_first_does_not_disorder_the_series(header):
    order = order_series([header(0, **SAGITTAL), header(10), header(0), header(5)])
    assert order.order == (2, 3, 1, 0)
    assert order.positions_mm[:3] == (0, 5, 10)
    assert np.isnan(order.positions_mm[3])
    assert (order.other_orientation, order.without_position, order.uneven_steps, order.tilt_degrees) == (1, 0, 0, 0)
    assert order.oddities() == ["slices in another orientation (localizers?): 1, put last"]


def test_slices_that_lie_face_down_or_askew_by_rounding_have_a_position(header):
    face_down = {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}
    askew = {"ImageOrientationPatient": [1, 0, 0, 0, 0.9998, 0.02]}  # 1.1 degrees
    order = order_series([header(0), header(5), header(10, **face_down), header(15, **askew)])
    assert order.positions_mm == pytest.approx((0, 5, 10, 15))
    assert order.oddities() == []


def test_every_oddity_has_a_line(header):
    tilted = [1, 0, 0, 0, round(np.cos(0.2), 8), round(-np.sin(0.2), 8)]  # 0.2 rad
    places = np.array([0, 5, 5, 10, 22]) / np.cos(0.2)
    headers = [header(place, ImageOrientationPatient=tilted) for place in places]
    headers += [header(0, ImageOrientationPatient=tilted, ImagePositionPatient=None), header(0, **SAGITTAL)]
    order = order_series(headers)
    assert order.order == tuple(range(7))
    assert order.oddities() == [
        "slices in another orientation (localizers?): 1, put last",
        "slices without a position: 1, put last",
        "slices at the place of the one before: 1, in the order of the files",
        "uneven steps: 1 (median 5.00 mm)",
        "tilt: 11.5 degrees from axial",
    ]


def test_one_slice_with_the_few_tags_of_the_rsna_files_is_not_odd(header):
    assert order_series([header(3)]).oddities() == []


@pytest.mark.parametrize("tilt", [0.0, 18.5, -25.0])
def test_tilted_series_is_ordered_along_its_normal(dicom_slice, tilt):
    angle = np.radians(tilt)
    cosines = [1, 0, 0, 0, round(np.cos(angle), 8), round(-np.sin(angle), 8)]
    places = [3, 0, 2, 1]
    headers = [
        read_header(
            dicom_slice(
                f"ID_{place}", np.zeros((4, 4), np.int16), ImageOrientationPatient=cosines,
                ImagePositionPatient=[0, 0, 5.0 * place],
            )
        )
        for place in places
    ]  # fmt: skip
    order = order_series(headers)
    assert [places[index] for index in order.order] == [0, 1, 2, 3]
    assert order.slice_spacing_mm == pytest.approx(5 * np.cos(angle), abs=1e-5)
    assert order.tilt_degrees == pytest.approx(abs(tilt), abs=1e-4)
