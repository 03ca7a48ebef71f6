import numpy as np
import pytest

from ich.dicom.read import read_header
from ich.dicom.series import order_positions, order_series


def test_order_spacing_ties_and_uneven_steps():
    order = order_positions(np.array([10.0, 0.0, 5.0, 5.0, 22.0, np.nan]))
    assert order.order == (1, 2, 3, 0, 4, 5)  # the tie keeps the order given, the unknown position comes last
    assert order.slice_spacing_mm == 5
    assert (order.ties, order.uneven_steps) == (1, 1)


def test_series_without_positions():
    order = order_positions(np.array([np.nan, np.nan]))
    assert order.order == (0, 1)
    assert np.isnan(order.slice_spacing_mm)


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
