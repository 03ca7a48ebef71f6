import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich.hounsfield import INVERTED_VALUES, TWELVE_BIT_WRAP, Rescale, to_hounsfield, unwrap_twelve_bits
from ich.windows import rgb_from_hu

RSNA = ((75, 215), (40, 80), (600, 2800))


def head(air, brain, bone, dtype):
    """A crude slice of 32 x 32: air all round, a ring of bone, brain inside."""
    image = np.full((32, 32), air, dtype)
    image[6:26, 6:26] = bone
    image[8:24, 8:24] = brain
    return image


@pytest.mark.parametrize(
    ("stored", "rescale", "hu", "repairs"),
    [
        # The centre pixel holds brain, 40 HU, stored in each way that the RSNA files and others store it.
        (head(24, 1064, 1824, np.int16), Rescale(1, -1024, 16, True), 40, ()),
        (head(24, 1064, 1824, np.uint16), Rescale(1, -1024, 12, False), 40, ()),
        (head(0, 1040, 1800, np.uint16), Rescale(1, -1000, 12, False), 40, ()),
        (head(-1000, 40, 800, np.int16), Rescale(1, 0, 16, True), 40, ()),  # right as it is (GE)
        (head(3096, 40, 800, np.uint16), Rescale(1, 0, 12, False), 40, (TWELVE_BIT_WRAP,)),
        (head(3096, 40, 800, np.uint16), Rescale(1, 1, 12, False), 40, (TWELVE_BIT_WRAP,)),
        (head(0, 520, 900, np.uint16), Rescale(2, -1000, 16, False), 40, ()),
        (head(24, 1064, 1824, np.uint16), Rescale(1, -1024, 12, False, monochrome1=True), 40, ()),  # display only
        (
            4095 - head(24, 1064, 1824, np.uint16),
            Rescale(1, -1024, 12, False, monochrome1=True),
            40,
            (INVERTED_VALUES,),
        ),
    ],
)
def test_known_stored_values_give_known_hu_and_rgb(stored, rescale, hu, repairs):
    result = to_hounsfield(stored, rescale)
    assert result.hu.dtype == np.int16
    assert result.hu[16, 16] == hu
    assert result.hu[0, 0] <= -1000 + 1
    assert result.repairs == repairs
    assert rgb_from_hu(result.hu, RSNA, 32)[16, 16].tolist() == [86, 128, 77]


def test_padding_is_clipped_and_measured():
    stored = head(24, 1064, 1824, np.int16)
    stored[:4] = -2000  # -3024 HU
    result = to_hounsfield(stored, Rescale(1, -1024, 16, True))
    assert result.hu.min() == -1024
    assert result.padding == pytest.approx(4 / 32)


def test_unsigned_slice_without_air_is_not_unwrapped():
    """Intercept 0 and 12 bits alone are no evidence: nothing here is high enough to be wrapped air."""
    result = to_hounsfield(np.full((32, 32), 40, np.uint16), Rescale(1, 0, 12, False))
    assert (result.hu == 40).all()
    assert result.repairs == ()


def test_metal_is_not_mistaken_for_wrapped_air():
    stored = np.full((100, 100), 40, np.uint16)
    stored[:10, :10] = 3500  # 1 % of the slice
    assert to_hounsfield(stored, Rescale(1, 0, 12, False)).repairs == ()


def test_extremes_fit():
    assert to_hounsfield(np.full((4, 4), 32767, np.int16), Rescale(1, 0, 16, True)).hu.max() == 32767
    assert to_hounsfield(np.full((4, 4), 65535, np.uint16), Rescale(2, 0, 16, False)).hu.max() == 32767


def test_fractional_hu_are_rounded():
    assert to_hounsfield(np.full((4, 4), 3, np.int16), Rescale(0.5, 0.2, 16, True)).hu[0, 0] == 2  # 1.7


@given(st.integers(-1000, 3095))
def test_unwrapping_undoes_the_wrap(hu):
    wrapped = np.array([[hu % 4096]], np.uint16)
    assert unwrap_twelve_bits(wrapped)[0, 0] == hu


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
@pytest.mark.parametrize("intercept", [-40_000, -30_001, -30_000, -1024, -1000, 0, 1, 30_000, 30_001, 40_000])
def test_every_stored_value_is_shifted_as_arithmetic_says(dtype, intercept):
    """All 65,536 values, on both sides of where 16 bits suffice."""
    stored = np.arange(2**16).astype(np.uint16).view(dtype).reshape(256, 256)
    found = to_hounsfield(stored, Rescale(1, intercept, 16, dtype == np.int16))
    exact = stored.astype(np.int64) + intercept
    np.testing.assert_array_equal(found.hu, np.clip(exact, -1024, 32767))
    assert found.hu.dtype == np.int16
    assert found.padding == np.mean(exact < -1024)
    assert (found.lowest, found.highest) == (found.hu.min(), found.hu.max())
