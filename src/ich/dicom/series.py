"""Order the slices of a series by where they are, and say what is odd about them. Never guess, never drop."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich.dicom.header import SlicePlane

Vector = tuple[float, float, float]

SAME_PLACE_MM = 0.01
UNEVEN_SHARE = 0.1  # steps that differ from the median by more than this share are uneven
_SAME_ORIENTATION_DEGREES = 5.0  # normals of one acquisition differ by rounding only, a localizer's by a right angle
TOLD_DEGREES = 1.0  # smaller tilts are not worth a line


@dataclass(frozen=True)
class SeriesOrder:
    """Slices of one series in order along the slice normal.

    Attributes:
        order: indices into the headers as given, from the lowest position to the highest; slices without a position
            along the series' normal come last, in the order given.
        positions_mm: position along the normal of each ordered slice; NaN where unknown.
        slice_spacing_mm: median step between slices; NaN with fewer than two places.
        ties: ordered slices that lie where the one before them lies; the order given decides between them.
        uneven_steps: steps that differ from the median by more than a tenth.
        tilt_degrees: angle between the slice normal and the patient's long axis; NaN where unknown.
        other_orientation: slices whose planes are not parallel to those of the series, such as localizers; they have
            no position along its normal.
    """

    order: tuple[int, ...]
    positions_mm: tuple[float, ...]
    slice_spacing_mm: float
    ties: int
    uneven_steps: int
    tilt_degrees: float
    other_orientation: int = 0

    @property
    def without_position(self) -> int:
        """Slices whose headers do not say where they are."""
        return int(np.isnan(self.positions_mm).sum()) - self.other_orientation

    def oddities(self) -> list[str]:
        """What a reader of the series should know, a short line each; empty for a plain axial series."""
        lines = (
            (
                self.other_orientation,
                f"slices in another orientation (localizers?): {self.other_orientation}, put last",
            ),
            (self.without_position, f"slices without a position: {self.without_position}, put last"),
            (self.ties, f"slices at the place of the one before: {self.ties}, in the order of the files"),
            (self.uneven_steps, f"uneven steps: {self.uneven_steps} (median {self.slice_spacing_mm:.2f} mm)"),
            (self.tilt_degrees > TOLD_DEGREES, f"tilt: {self.tilt_degrees:.1f} degrees from axial"),
        )
        return [line for is_so, line in lines if is_so]


def order_series(planes: Sequence[SlicePlane]) -> SeriesOrder:
    """Order slices by ImagePositionPatient projected on the normal of ImageOrientationPatient.

    SliceThickness, InstanceNumber and SliceLocation are not used: RSNA files lack them, and tilted series contradict
    them. The normal is the commonest one, so that positions of one series share one axis, and a localizer that comes
    first does not decide.

    Args:
        planes: of the slices, e.g. their headers; of those at one place, the one given first comes first.
    """
    normal = _commonest([plane.normal for plane in planes if plane.normal is not None])
    positions = np.array([_project(plane, normal) for plane in planes], float)
    order = np.argsort(positions, kind="stable")  # NaN sorts last
    located = order[np.isfinite(positions[order])]
    apart = np.diff(positions[located]) > SAME_PLACE_MM
    place = np.concatenate([[0], np.cumsum(apart)])[: len(located)]
    order[: len(located)] = located[np.lexsort((located, place))]  # at one place: in the order given
    ordered = positions[order]
    real_steps = np.diff(ordered[: len(located)])[apart]
    spacing = float(np.median(real_steps)) if real_steps.size else math.nan
    return SeriesOrder(
        order=tuple(int(index) for index in order),
        positions_mm=tuple(float(position) for position in ordered),
        slice_spacing_mm=spacing,
        ties=int(np.sum(~apart)),
        uneven_steps=int(np.sum(np.abs(real_steps - spacing) > UNEVEN_SHARE * spacing)),
        tilt_degrees=tilt_degrees(normal),
        other_orientation=sum(not _is_parallel(plane.normal, normal) for plane in planes),
    )


def tilt_degrees(normal: Vector | None) -> float:
    """Angle of a slice normal to the patient's long axis, (0, 0, +-1), where there is no tilt; NaN without a normal."""
    return math.nan if normal is None else math.degrees(math.acos(min(1.0, abs(normal[2]))))


def _commonest(normals: Sequence[Vector]) -> Vector | None:
    """The first of the normals that occur most often, to three decimals; None without any."""
    if not normals:
        return None
    rounded = [tuple(round(part, 3) for part in normal) for normal in normals]
    return normals[rounded.index(Counter(rounded).most_common(1)[0][0])]  # of equals, the one met first


def _is_parallel(normal: Vector | None, to: Vector | None) -> bool:
    """Whether two planes are parallel, whichever side is up; one that is not known passes for it."""
    if normal is None or to is None:
        return True
    return abs(_dot(normal, to)) > math.cos(math.radians(_SAME_ORIENTATION_DEGREES))


def _project(plane: SlicePlane, normal: Vector | None) -> float:
    if plane.position is None or normal is None or not _is_parallel(plane.normal, normal):
        return math.nan
    place = _dot(plane.position, normal)
    return place if math.isfinite(place) else math.nan  # 1.7e308 is a legal position


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
