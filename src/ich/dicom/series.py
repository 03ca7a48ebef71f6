"""Order the slices of a series by where they are, and say what is odd about them. Never guess, never drop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich.dicom.read import SliceHeader

_SAME_PLACE_MM = 0.01
_UNEVEN_SHARE = 0.1  # steps that differ from the median by more than this share are uneven


@dataclass(frozen=True)
class SeriesOrder:
    """Slices of one series in order along the slice normal.

    Attributes:
        order: indices into the headers as given, from the lowest position to the highest; slices without a position
            come last, in the order given.
        positions_mm: position along the normal of each ordered slice; NaN where unknown.
        slice_spacing_mm: median step between slices; NaN with fewer than two places.
        ties: ordered slices that lie where the one before them lies; the order given decides between them.
        uneven_steps: steps that differ from the median by more than a tenth.
        tilt_degrees: angle between the slice normal and the patient's long axis; NaN where unknown.
    """

    order: tuple[int, ...]
    positions_mm: tuple[float, ...]
    slice_spacing_mm: float
    ties: int
    uneven_steps: int
    tilt_degrees: float


def order_series(headers: Sequence[SliceHeader]) -> SeriesOrder:
    """Order slices by ImagePositionPatient projected on the normal of ImageOrientationPatient.

    SliceThickness, InstanceNumber and SliceLocation are not used: RSNA files lack them, and tilted series contradict
    them. The normal is the first slice's, so that positions of one series share one axis.
    """
    normal = next((header.normal for header in headers if header.normal is not None), None)
    return order_positions(np.array([_project(header, normal) for header in headers], float), tilt_degrees(normal))


def order_positions(positions: NDArray[np.float64], tilt: float = math.nan) -> SeriesOrder:
    """Order slices by their positions along the normal: (n,) mm, NaN where unknown."""
    order = np.argsort(positions, kind="stable")  # NaN sorts last
    ordered = positions[order]
    steps = np.diff(ordered[np.isfinite(ordered)])
    real_steps = steps[steps > _SAME_PLACE_MM]
    spacing = float(np.median(real_steps)) if real_steps.size else math.nan
    return SeriesOrder(
        order=tuple(int(index) for index in order),
        positions_mm=tuple(float(position) for position in ordered),
        slice_spacing_mm=spacing,
        ties=int(np.sum(steps <= _SAME_PLACE_MM)),
        uneven_steps=int(np.sum(np.abs(real_steps - spacing) > _UNEVEN_SHARE * spacing)),
        tilt_degrees=tilt,
    )


def _project(header: SliceHeader, normal: NDArray[np.float64] | None) -> float:
    if header.position is None or normal is None:
        return math.nan
    return float(np.dot(header.position, normal))


def tilt_degrees(normal: NDArray[np.float64] | None) -> float:
    """Angle of a slice normal to the patient's long axis, (0, 0, +-1), where there is no tilt; NaN without a normal."""
    if normal is None:
        return math.nan
    return float(np.degrees(np.arccos(np.clip(abs(normal[2]), 0, 1))))
