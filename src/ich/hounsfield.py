"""Stored values to Hounsfield units, with the repairs that the RSNA 2019 data needs.

A repair is made only on evidence in the pixels, never on a tag alone, and is recorded by name.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TWELVE_BIT_WRAP = "twelve_bit_wrap"
INVERTED_VALUES = "inverted_values"
LOWEST_HU = -1024  # what is below is padding outside the reconstruction, not tissue

# Wrapped air (stored 3096 to 4095) fills 20 to 95 % of a slice; true values that high are metal, under 0.5 %.
_WRAPPED_SHARE = 0.02


@dataclass(frozen=True)
class Rescale:
    """What turns stored values into HU (DICOM PS3.3 C.11.1), and how they were stored (C.7.6.3)."""

    slope: float
    intercept: float
    bits_stored: int
    signed: bool
    monochrome1: bool = False


@dataclass(frozen=True)
class Hounsfield:
    """A slice in HU.

    Attributes:
        hu: (rows, columns) int16, at least -1024.
        repairs: names of the repairs that were made.
        padding: share of pixels that were below -1024 HU before clipping.
    """

    hu: NDArray[np.int16]
    repairs: tuple[str, ...]
    padding: float


def to_hounsfield(stored_values: NDArray[np.integer], rescale: Rescale) -> Hounsfield:
    """Rescale stored values, repairing wrapped and inverted ones.

    Args:
        stored_values: (rows, columns) as decoded, signed or unsigned.
        rescale: the header's word on them.

    Fractional HU (slopes other than whole numbers) are rounded to the nearest.
    """
    if _is_wrapped(stored_values, rescale):
        return _clip(unwrap_twelve_bits(stored_values), (TWELVE_BIT_WRAP,))
    hu = _rescale(stored_values, rescale)
    if rescale.monochrome1 and not _border_is_air(hu):
        inverted = _rescale(_invert(stored_values, rescale), rescale)
        if _border_is_air(inverted):
            return _clip(inverted, (INVERTED_VALUES,))
    return _clip(hu, ())


def unwrap_twelve_bits(stored_values: NDArray[np.integer]) -> NDArray[np.int32]:
    """HU of a slice whose negative HU were wrapped past 4095.

    The published repair: add 1000, subtract 4096 from what is 4096 or more, use the intercept -1000; that is,
    3096 to 4095 mean -1000 to -1, and lower values are HU as they stand.
    """
    shifted = stored_values.astype(np.int32) + 1000
    return np.where(shifted >= 4096, shifted - 4096, shifted) - 1000


def _is_wrapped(stored_values: NDArray[np.integer], rescale: Rescale) -> bool:
    """Header of the wrapped kind, and the evidence: far more pixels at 3096 and above than metal explains."""
    if rescale.bits_stored != 12 or rescale.signed or rescale.intercept <= -100 or rescale.slope != 1:
        return False
    return float(np.mean(stored_values >= 3096)) > _WRAPPED_SHARE


def _rescale(stored_values: NDArray[np.integer], rescale: Rescale) -> NDArray[np.int32]:
    if stored_values.itemsize <= 2 and rescale.slope == 1 and float(rescale.intercept).is_integer():
        return stored_values.astype(np.int32) + int(rescale.intercept)
    hu = np.rint(stored_values.astype(np.float64) * rescale.slope + rescale.intercept)
    return np.clip(hu, -(2**30), 2**30).astype(np.int32)


def _invert(stored_values: NDArray[np.integer], rescale: Rescale) -> NDArray[np.int32]:
    """Swap the ends of the range that the stored bits can hold."""
    sum_of_ends = -1 if rescale.signed else 2**rescale.bits_stored - 1
    return sum_of_ends - stored_values.astype(np.int32)


def _border_is_air(hu: NDArray[np.int32]) -> bool:
    """At least half of the outermost pixels are air or padding."""
    border = np.concatenate([hu[0], hu[-1], hu[:, 0], hu[:, -1]])
    return float(np.mean(border < -500)) >= 0.5


def _clip(hu: NDArray[np.int32], repairs: tuple[str, ...]) -> Hounsfield:
    padding = float(np.mean(hu < LOWEST_HU))
    return Hounsfield(np.clip(hu, LOWEST_HU, np.iinfo(np.int16).max).astype(np.int16), repairs, padding)
