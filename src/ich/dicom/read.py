"""Read one CT slice from one DICOM file."""

import functools
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from ich.errors import UnreadableSlice, one_line
from ich.hounsfield import LOWEST_HU, Hounsfield, Rescale, to_hounsfield

# The RSNA files hold UIDs such as ID_b81a287f. pydicom would warn of each; we never use a UID as more than a name.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# What pydicom warns of besides, in two lines and with its own path, is checked here or makes decoding fail.
warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")

_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_SLOPES = (0.01, 10)  # HU a stored value: 1 nearly always, 0.5 to 4 in some files
_LARGEST_INTERCEPT = 1e5  # HU: no CT needs more than a few thousand
_AIR_HU, _DENSE_HU = -900, 1000  # at most air; at least dense bone or metal
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
    """

    modality: str | None
    patient: str | None
    study: str | None
    series: str | None
    instance: str | None
    pixel_spacing: tuple[float, ...] | None
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    bits_stored: int | None
    signed: bool | None
    photometric: str | None
    slope: float | None
    intercept: float | None
    transfer_syntax: str | None
    manufacturer: str | None


@dataclass(frozen=True)
class CtSlice:
    """One slice: its header and its Hounsfield units."""

    header: SliceHeader
    hounsfield: Hounsfield

    @property
    def hu(self) -> NDArray[np.int16]:
        """(rows, columns) int16 HU, at least -1024."""
        return self.hounsfield.hu


def read_header(path: Path) -> SliceHeader:
    """Read a file's header; the pixels are not touched.

    Raises:
        UnreadableSlice: not a file, not DICOM, or cut off inside the header.
    """
    return _header(_open(path, stop_before_pixels=True))


def read_slice(path: Path) -> CtSlice:
    """Read a file's header and pixels, in HU.

    Raises:
        UnreadableSlice: the file cannot give a CT slice; the message is the reason.
    """
    dataset = _open(path, stop_before_pixels=False)
    header = _header(dataset)
    rescale = _check(header, dataset)
    try:
        ct = CtSlice(header, to_hounsfield(_pixels(dataset, header), rescale))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UnreadableSlice(f"cannot be turned into HU: {type(error).__name__}: {one_line(error)}") from error
    if ct.hounsfield.padding == 1:
        raise UnreadableSlice(
            f"all pixels are under {LOWEST_HU} HU, the density of nothing: these are no Hounsfield units"
        )
    _refuse_implausible(ct.hu)
    return ct


def _refuse_implausible(hu: NDArray[np.int16]) -> None:
    """A slice of air is one; a slice without any soft tissue, fat or air is not in HU, whatever its header says."""
    lowest, highest = int(hu.min()), int(hu.max())
    if lowest == highest and lowest > _AIR_HU:
        raise UnreadableSlice(f"all pixels are {lowest} HU: not an image")
    if lowest > _DENSE_HU:
        raise UnreadableSlice(f"no pixel is below {lowest} HU: these are no Hounsfield units")


def _open(path: Path, *, stop_before_pixels: bool) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError as error:
        raise UnreadableSlice("not a DICOM file: no DICM prefix") from error
    except OSError as error:
        raise UnreadableSlice(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # pydicom raises what the damage happens to provoke: any of it means the same to us
        raise UnreadableSlice(f"damaged DICOM structure: {type(error).__name__}: {one_line(error)}") from error


def _header(dataset: pydicom.Dataset) -> SliceHeader:
    meta = getattr(dataset, "file_meta", None)
    pixel_representation = _whole(dataset, "PixelRepresentation")
    return SliceHeader(
        modality=_text(dataset, "Modality"),
        patient=_text(dataset, "PatientID"),
        study=_text(dataset, "StudyInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        instance=_text(dataset, "SOPInstanceUID"),
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(dataset, "PixelSpacing", 2),
        rows=_whole(dataset, "Rows"),
        columns=_whole(dataset, "Columns"),
        bits_allocated=_whole(dataset, "BitsAllocated"),
        bits_stored=_whole(dataset, "BitsStored"),
        signed=None if pixel_representation is None else pixel_representation == 1,
        photometric=_text(dataset, "PhotometricInterpretation"),
        slope=_number(dataset, "RescaleSlope"),
        intercept=_number(dataset, "RescaleIntercept"),
        transfer_syntax=_text(meta, "TransferSyntaxUID") if meta else None,
        manufacturer=_text(dataset, "Manufacturer"),
    )


def _check(header: SliceHeader, dataset: pydicom.Dataset) -> Rescale:
    """Refuse what is not one CT slice in HU, with the reason."""
    if header.modality != "CT":
        raise UnreadableSlice(f"modality is {header.modality or 'missing'}, not CT")
    for name, extent in (("Rows", header.rows), ("Columns", header.columns)):
        if extent is None or not 0 < extent <= _LARGEST_SIDE:
            raise UnreadableSlice(f"{name} is {extent}; it must be 1 to {_LARGEST_SIDE}")
    if (samples := _whole(dataset, "SamplesPerPixel")) not in (None, 1):
        raise UnreadableSlice(f"SamplesPerPixel is {samples}; a CT slice has 1")
    if (_whole(dataset, "NumberOfFrames") or 1) != 1:
        raise UnreadableSlice("more than one frame in the file")
    if header.bits_allocated not in (8, 16, 32) or not 0 < (header.bits_stored or 0) <= header.bits_allocated:
        raise UnreadableSlice(f"BitsAllocated {header.bits_allocated}, BitsStored {header.bits_stored} cannot be right")
    if header.signed is None:
        raise UnreadableSlice("PixelRepresentation is missing: stored values may or may not be signed")
    if header.photometric not in (None, "MONOCHROME1", "MONOCHROME2"):
        raise UnreadableSlice(f"PhotometricInterpretation is {header.photometric}; a CT slice is MONOCHROME2")
    if header.slope is None or header.slope <= 0 or header.intercept is None:
        raise UnreadableSlice("RescaleSlope or RescaleIntercept is missing, 0 or negative: no HU without them")
    if not _SLOPES[0] <= header.slope <= _SLOPES[1] or abs(header.intercept) > _LARGEST_INTERCEPT:
        raise UnreadableSlice(f"RescaleSlope {header.slope:g}, RescaleIntercept {header.intercept:g} cannot be right")
    if not dataset.get("PixelData"):
        raise UnreadableSlice("no pixel data")
    return Rescale(
        slope=header.slope,
        intercept=header.intercept,
        bits_stored=header.bits_stored or 0,
        signed=header.signed,
        monochrome1=header.photometric == "MONOCHROME1",
    )


def _pixels(dataset: pydicom.Dataset, header: SliceHeader) -> NDArray[np.integer]:
    """Stored values (rows, columns)."""
    rows, columns, bits = header.rows or 0, header.columns or 0, header.bits_allocated or 0
    expected = rows * columns * bits // 8
    if header.transfer_syntax in _UNCOMPRESSED and len(dataset.PixelData) < expected:
        raise UnreadableSlice(f"holds {len(dataset.PixelData):,} of {expected:,} pixel bytes")
    try:
        stored_values = dataset.pixel_array
    except Exception as error:  # decoders, too, raise whatever the damage provokes
        raise UnreadableSlice(f"pixels cannot be decoded: {type(error).__name__}: {one_line(error)}") from error
    if stored_values.shape != (rows, columns):
        raise UnreadableSlice(f"pixels decode to shape {stored_values.shape}, the header says {(rows, columns)}")
    return stored_values


def _value(dataset: pydicom.Dataset, keyword: str) -> Any:
    """A tag's value, or None: a damaged value is as good as none."""
    try:
        return getattr(dataset, keyword, None)
    except Exception:  # pydicom converts values when they are first asked for, and raises then
        return None


def _text(dataset: pydicom.Dataset, keyword: str) -> str | None:
    """A tag as text; control characters, which no terminal should be sent, become blanks."""
    value = _value(dataset, keyword)
    text = "" if value is None else "".join(char if char.isprintable() else " " for char in str(value))
    return text.strip() or None


def _number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """One finite number; of several, the first (RSNA window tags hold two)."""
    numbers = _numbers(dataset, keyword, None)
    return numbers[0] if numbers else None


def _whole(dataset: pydicom.Dataset, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return int(number) if number is not None else None


def _numbers(dataset: pydicom.Dataset, keyword: str, length: int | None) -> tuple[float, ...] | None:
    value = _value(dataset, keyword)
    values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    try:
        numbers = tuple(float(item) for item in values)
    except (TypeError, ValueError):
        return None
    if not numbers or not all(map(math.isfinite, numbers)) or length not in (None, len(numbers)):
        return None
    return numbers
