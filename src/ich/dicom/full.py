"""Read any DICOM file with pydicom and its decoders. Called in a process of its own: see `ich.dicom.isolated`."""

import io
import warnings
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from ich.dicom.header import SliceHeader, make_header, rescale_of
from ich.errors import UnreadableSlice, one_line

# The RSNA files hold UIDs such as ID_b81a287f. pydicom would warn of each; we never use a UID as more than a name.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# What pydicom warns of besides, in two lines and with its own path, is checked here or makes decoding fail.
warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")

_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")


def read_header(content: bytes) -> SliceHeader:
    """The header of a file; the pixels are not touched.

    Raises:
        UnreadableSlice: not DICOM, or cut off inside the header.
    """
    return _header(_open(content, stop_before_pixels=True))


def read(content: bytes) -> tuple[SliceHeader, NDArray[np.integer]]:
    """Header and stored values, (rows, columns), of a file.

    Raises:
        UnreadableSlice: the file cannot give a CT slice; the message is the reason.
    """
    dataset = _open(content, stop_before_pixels=False)
    header = _header(dataset)
    rescale_of(header)
    return header, _pixels(dataset, header)


def _open(content: bytes, *, stop_before_pixels: bool) -> pydicom.Dataset:
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=stop_before_pixels)
    except InvalidDicomError as error:
        raise UnreadableSlice("not a DICOM file: no DICM prefix") from error
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises what the damage happens to provoke: any of it means the same to us
        raise UnreadableSlice(f"damaged DICOM structure: {type(error).__name__}: {one_line(error)}") from error
    if not len(dataset):  # pydicom keeps nothing of a file that ends inside compressed pixels
        raise UnreadableSlice("damaged DICOM structure: it ends inside a data element, or has none")
    return dataset


def _header(dataset: pydicom.Dataset) -> SliceHeader:
    meta = getattr(dataset, "file_meta", None)
    return make_header(lambda keyword: _value(dataset, keyword), _value(meta, "TransferSyntaxUID"))


def _value(dataset: Any, keyword: str) -> Any:
    """A tag's value, or None: a damaged value is as good as none."""
    try:
        return getattr(dataset, keyword, None)
    except Exception:  # pydicom converts values when they are first asked for, and raises then
        return None


def _pixels(dataset: pydicom.Dataset, header: SliceHeader) -> NDArray[np.integer]:
    if not dataset.get("PixelData"):
        raise UnreadableSlice("no pixel data")
    rows, columns, bits = header.rows or 0, header.columns or 0, header.bits_allocated or 0
    expected = rows * columns * bits // 8
    if header.transfer_syntax in _UNCOMPRESSED and len(dataset.PixelData) < expected:
        raise UnreadableSlice(f"holds {len(dataset.PixelData):,} of {expected:,} pixel bytes")
    try:
        stored_values = dataset.pixel_array
    except MemoryError:
        raise
    except Exception as error:  # decoders, too, raise whatever the damage provokes
        raise UnreadableSlice(f"pixels cannot be decoded: {type(error).__name__}: {one_line(error)}") from error
    if stored_values.shape != (rows, columns):
        raise UnreadableSlice(f"pixels decode to shape {stored_values.shape}, the header says {(rows, columns)}")
    return np.asarray(stored_values)
