"""PNG files of images: written by steps 3 and 5, read by step 5, training and evaluation."""

import struct
from pathlib import Path

import cv2
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from ich.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2  # colour types
_UP = 2  # filter type


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an image, uint8: (h, w, 3) RGB or (h, w) grey.

    Rows are stored as differences from the row above (filter 2 of the PNG specification) and compressed by ISA-L: a
    third of OpenCV's time, for files a seventh larger. The same image gives the same bytes, in any process.
    """
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">2L5B", width, height, 8, _RGB if image.ndim == 3 else _GREY, 0, 0, 0)
    # Level 0: levels 1 and 2 make smaller files, but of a rare image with other bytes in another process:
    # the second position's hash is taken from an address (igzip_icf_body_h1_gr_bt.asm, .write_first_byte; ISA-L 2.31).
    pixels = isal_zlib.compress(filtered, 0)
    return b"".join([_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", pixels), *_chunk(b"IEND", b"")])


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A chunk of a PNG file: length, kind, content, checksum (PNG specification 5.3)."""
    checksum = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return struct.pack(">L", len(content)), kind, content, struct.pack(">L", checksum)


def read_png(path: Path, size: int | None = None) -> NDArray[np.uint8]:
    """Read an RGB image that step 3 or 5 wrote.

    Args:
        path: PNG file, 8 bits, three channels.
        size: rows and columns that it must have; None takes any.

    Returns:
        (h, w, 3) uint8, RGB.

    Raises:
        DataError: there is no such file, it is truncated or damaged (OpenCV 5 checks PNG's checksums), or it is not
            RGB of that size.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); run preprocess again") from error
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if image is None:
        raise DataError(
            f"{path} is not a whole PNG file; delete it and run preprocess (for _aug_ images: augment) again"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"{path} must be RGB with 8 bits a channel, got {image.dtype} of shape {image.shape}; run preprocess again"
        )
    if size is not None and image.shape[:2] != (size, size):
        raise DataError(
            f"{path} must have {size} x {size} pixels (preprocess.size), got {image.shape[0]} x {image.shape[1]}; "
            "run preprocess again, or set preprocess.size to that"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), np.uint8)
