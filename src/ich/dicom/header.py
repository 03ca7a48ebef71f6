"""What a CT slice's header says, and whether it can be one slice in Hounsfield units."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ich.errors import UnreadableSlice, one_line
from ich.hounsfield import Rescale

# What is read of a header: DICOM keyword, tag and value representation (PS3.6). Everything else is skipped. Tags stand
# here, because importing pydicom's dictionary takes a third of the time in which a worker process starts.
ELEMENTS: dict[str, tuple[int, str]] = {
    "Modality": (0x00080060, "CS"),
    "Manufacturer": (0x00080070, "LO"),
    "PatientID": (0x00100020, "LO"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "ImagePositionPatient": (0x00200032, "DS"),
    "ImageOrientationPatient": (0x00200037, "DS"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "PixelSpacing": (0x00280030, "DS"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
}

_SIGNED: dict[int | None, bool] = {0: False, 1: True}  # by PixelRepresentation
_SLOPES = (0.01, 10)  # HU a stored value: 1 nearly always, 0.5 to 4 in some files
_LARGEST_INTERCEPT = 1e5  # HU: no CT needs more than a few thousand
_LARGEST_WHOLE = 2**31 - 1  # what the ledger's columns hold, and far above what any of these tags has
_LONGEST_TEXT = 1024  # characters; ids have 64 at most (PS3.5 6.2)
_LARGEST_SIDE = 4096  # pixels; head CT has 512, rarely 768 or 1024: more is a lying header


@dataclass(frozen=True)
class SlicePlane:
    """Where a slice lies in the patient; absent or unusable values are None.

    Attributes:
        position: ImagePositionPatient, mm (PS3.3 C.7.6.2.1.1).
        orientation: ImageOrientationPatient, direction cosines of a row and of a column.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None

    @functools.cached_property
    def normal(self) -> tuple[float, float, float] | None:
        """Unit normal of the plane; None where the orientation is absent or degenerate."""
        if self.orientation is None:
            return None
        a, b, c, d, e, f = self.orientation
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        length = math.hypot(*normal)
        return tuple(part / length for part in normal) if 0.5 < length < 1.5 else None  # type: ignore[return-value]


@dataclass(frozen=True)
class SliceHeader(SlicePlane):
    """What a slice's header says, in DICOM's words and units; absent or unusable values are None.

    Attributes:
        patient, study, series, instance: PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID.
        pixel_spacing: mm between rows, mm between columns.
        samples: SamplesPerPixel; 1 for CT.
        frames: NumberOfFrames; absent or 1 for a slice.
    """

    modality: str | None
    patient: str | None
    study: str | None
    series: str | None
    instance: str | None
    pixel_spacing: tuple[float, ...] | None
    rows: int | None
    columns: int | None
    samples: int | None
    frames: int | None
    bits_allocated: int | None
    bits_stored: int | None
    signed: bool | None
    photometric: str | None
    slope: float | None
    intercept: float | None
    transfer_syntax: str | None
    manufacturer: str | None


def make_header(value: Callable[[str], Any], transfer_syntax: str | None) -> SliceHeader:
    """Build a header.

    Args:
        value: from a keyword of ELEMENTS to its value (text, a number or several), or None.
        transfer_syntax: TransferSyntaxUID.
    """
    return SliceHeader(
        modality=_text(value("Modality")),
        patient=_text(value("PatientID")),
        study=_text(value("StudyInstanceUID")),
        series=_text(value("SeriesInstanceUID")),
        instance=_text(value("SOPInstanceUID")),
        position=_numbers(value("ImagePositionPatient"), 3),
        orientation=_numbers(value("ImageOrientationPatient"), 6),
        pixel_spacing=_numbers(value("PixelSpacing"), 2),
        rows=_whole(value("Rows")),
        columns=_whole(value("Columns")),
        samples=_whole(value("SamplesPerPixel")),
        frames=_whole(value("NumberOfFrames")),
        bits_allocated=_whole(value("BitsAllocated")),
        bits_stored=_whole(value("BitsStored")),
        signed=_SIGNED.get(_whole(value("PixelRepresentation"))),
        photometric=_text(value("PhotometricInterpretation")),
        slope=_number(value("RescaleSlope")),
        intercept=_number(value("RescaleIntercept")),
        transfer_syntax=_text(transfer_syntax),
        manufacturer=_text(value("Manufacturer")),
    )


def rescale_of(header: SliceHeader) -> Rescale:
    """What turns the stored values into HU.

    Raises:
        UnreadableSlice: this is not one CT slice in HU; the message is the reason.
    """
    if header.modality != "CT":
        raise UnreadableSlice(f"modality is {one_line(header.modality or 'missing')}, not CT")
    for name, extent in (("Rows", header.rows), ("Columns", header.columns)):
        if extent is None or not 0 < extent <= _LARGEST_SIDE:
            raise UnreadableSlice(f"{name} is {extent}; it must be 1 to {_LARGEST_SIDE}")
    if header.samples not in (None, 1):
        raise UnreadableSlice(f"SamplesPerPixel is {header.samples}; a CT slice has 1")
    if (header.frames or 1) != 1:
        raise UnreadableSlice("more than one frame in the file")
    if header.bits_allocated not in (8, 16, 32) or not 0 < (header.bits_stored or 0) <= header.bits_allocated:
        raise UnreadableSlice(f"BitsAllocated {header.bits_allocated}, BitsStored {header.bits_stored} cannot be right")
    if header.signed is None:
        raise UnreadableSlice("PixelRepresentation is not 0 or 1: stored values may or may not be signed")
    if header.photometric not in (None, "MONOCHROME1", "MONOCHROME2"):
        raise UnreadableSlice(f"PhotometricInterpretation is {one_line(header.photometric)}; a CT slice is MONOCHROME2")
    if header.slope is None or header.slope <= 0 or header.intercept is None:
        raise UnreadableSlice("RescaleSlope or RescaleIntercept is missing, 0 or negative: no HU without them")
    if not _SLOPES[0] <= header.slope <= _SLOPES[1] or abs(header.intercept) > _LARGEST_INTERCEPT:
        raise UnreadableSlice(f"RescaleSlope {header.slope:g}, RescaleIntercept {header.intercept:g} cannot be right")
    return Rescale(
        slope=header.slope,
        intercept=header.intercept,
        bits_stored=header.bits_stored or 0,
        signed=header.signed,
        monochrome1=header.photometric == "MONOCHROME1",
    )


def _text(value: Any) -> str | None:
    """A value as text; control characters, which no terminal should be sent, become blanks. Far too long is damaged."""
    if value is None:
        return None
    text = str(value)
    if len(text) > _LONGEST_TEXT:
        return None
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text.strip() or None


def _number(value: Any) -> float | None:
    """One finite number; of several, the first (RSNA window tags hold two)."""
    numbers = _numbers(value, None)
    return numbers[0] if numbers else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and abs(number) <= _LARGEST_WHOLE else None


def _numbers(value: Any, length: int | None) -> tuple[float, ...] | None:
    values = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    try:
        numbers = tuple(float(item) for item in values)
    except (OverflowError, TypeError, ValueError):  # Overflow: a whole number of 400 digits
        return None
    if not numbers or not all(map(math.isfinite, numbers)) or length not in (None, len(numbers)):
        return None
    return numbers
