import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich.errors import DataError
from ich.windows import apply_window, pad_to_square, rgb_from_hu

RSNA = ((75, 215), (40, 80), (600, 2800))


@pytest.mark.parametrize(
    ("hu", "rgb"),
    [
        # Worked by hand: 255 * clip((hu - center) / width + 0.5, 0, 1), rounded.
        (-1000, (0, 0, 0)),  # air
        (0, (39, 0, 73)),  # water: (0+32.5)/215 = .1512 -> 38.5 -> 39; 0; (0+800)/2800 = .2857 -> 72.9
        (40, (86, 128, 77)),  # brain: 72.5/215 -> 85.99; .5 -> 127.5 -> 128; 840/2800 = .3 -> 76.5 -> 77
        (65, (116, 207, 79)),  # blood: 97.5/215 -> 115.6; 65/80 -> 207.2; 865/2800 -> 78.8
        (182, (254, 255, 89)),  # 214.5/215 -> 254.4; 1; 982/2800 -> 89.4
        (2000, (255, 255, 255)),  # bone window ends at 600 + 1400
    ],
)
def test_known_hu_give_known_rgb(hu, rgb):
    image = rgb_from_hu(np.full((64, 64), hu, np.int16), RSNA, 32)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.broadcast_to(rgb, image.shape))


def test_window_ends():
    np.testing.assert_allclose(apply_window(np.array([-1, 0, 20, 40, 80, 81]), 40, 80), [0, 0, 0.25, 0.5, 1, 1])


@given(st.integers(-1024, 3071), st.floats(-200, 800), st.floats(1, 4000))
def test_window_is_monotone_and_bounded(hu, center, width):
    low, high = apply_window(np.array([hu, hu + 1]), center, width)
    assert 0 <= low <= high <= 1


def test_table_agrees_with_arithmetic_on_a_resized_slice():
    hu = np.random.default_rng(0).integers(-1024, 3071, (512, 512)).astype(np.int16)
    reference = np.stack(
        [cv2.resize(apply_window(hu, *window) * 255, (256, 256), interpolation=cv2.INTER_AREA) for window in RSNA], -1
    )
    assert np.abs(rgb_from_hu(hu, RSNA, 256) - reference).max() <= 1.0  # rounded before and after the mean


def test_slices_that_are_not_square_are_padded_with_air():
    hu = np.full((490, 638), 40, np.int16)
    square = pad_to_square(hu)
    assert square.shape == (638, 638)
    assert (square[:74] == -1000).all()
    assert (square[74:564] == 40).all()
    assert (square[564:] == -1000).all()
    assert rgb_from_hu(hu, RSNA, 64)[0, 0].tolist() == [0, 0, 0]
    assert rgb_from_hu(hu, RSNA, 64, "stretch")[0, 0].tolist() == [86, 128, 77]


def test_empty_slice():
    with pytest.raises(DataError, match="two dimensions"):
        rgb_from_hu(np.zeros((0, 4), np.int16), RSNA, 64)
