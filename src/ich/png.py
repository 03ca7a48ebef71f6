"""PNG files of images: written by steps 3 and 5, read by step 5, training and evaluation."""

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from ich.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2  # colour types
_UP = 2  # filter type

# Bytes of a file with one IDAT chunk: before its content (signature, IHDR, length and kind), after it (checksum, IEND).
_BEFORE, _AFTER = 8 + 25 + 8, 4 + 12

_LARGEST = 4096  # rows or columns: larger images, and what memory they may take, are left to OpenCV

# Images that are added up together: each call of NumPy's takes Python's lock again, for which many threads queue. With
# eight threads on two cores 1,100 images/s one by one, 1,560 eight at a time, 1,710 thirty-two at a time.
_TOGETHER = 16

_BLOCK_STEPS = 6
_BLOCK = 2**_BLOCK_STEPS  # rows


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
    # Level 0: levels 1 and 2 make smaller files, but of a rare image with other bytes in another process:
    # the second position's hash is taken from an address (igzip_icf_body_h1_gr_bt.asm, .write_first_byte; ISA-L 2.31).
    return _framed(height, width, _RGB if image.ndim == 3 else _GREY, isal_zlib.compress(filtered, 0))


def _framed(height: int, width: int, colour: int, pixels: bytes | memoryview) -> bytes:
    """A PNG file of 8 bits a channel around compressed pixels."""
    header = struct.pack(">2L5B", width, height, 8, colour, 0, 0, 0)
    return b"".join([_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", pixels), *_chunk(b"IEND", b"")])


def _chunk(kind: bytes, content: bytes | memoryview) -> tuple[bytes, bytes, bytes | memoryview, bytes]:
    """A chunk of a PNG file: length, kind, content, checksum (PNG specification 5.3)."""
    checksum = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return struct.pack(">L", len(content)), kind, content, struct.pack(">L", checksum)


def read_png(path: Path, size: int | None = None) -> NDArray[np.uint8]:
    """Read an RGB image that step 3 or 5 wrote.

    Files as `encode_png` writes them are read here, in less than half of OpenCV's time; all others by OpenCV, which
    also decides what is damaged.

    Args:
        path: PNG file, 8 bits, three channels.
        size: rows and columns that it must have; None takes any.

    Returns:
        (h, w, 3) uint8, RGB.

    Raises:
        DataError: there is no such file, it is truncated or damaged (OpenCV 5 checks PNG's checksums), or it is not
            RGB of that size.
    """
    content = _read(path)
    rows = _inflate(content, size)
    if rows is None:
        return _read_by_opencv(path, content, size)
    image = np.empty((1, len(rows), rows.shape[1] // 3, 3), np.uint8)
    image[0].reshape(len(rows), -1)[:] = rows[:, 1:]
    _add_up(image)
    return image[0]


def read_pngs(paths: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """Several images of `read_png` as one array (n, size, size, 3); raises what that raises."""
    images = np.empty((len(paths), size, size, 3), np.uint8)
    for start in range(0, len(paths), _TOGETHER):
        _read_into(images[start : start + _TOGETHER], paths[start : start + _TOGETHER])
    return images


def _read_into(images: NDArray[np.uint8], paths: Sequence[Path]) -> None:
    size, by_opencv = images.shape[1], {}
    for i, path in enumerate(paths):
        content = _read(path)
        rows = _inflate(content, size)
        if rows is None:
            by_opencv[i] = _read_by_opencv(path, content, size)
        else:
            images[i].reshape(size, -1)[:] = rows[:, 1:]
    _add_up(images)
    for i, image in by_opencv.items():
        images[i] = image


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); run preprocess again") from error


def _inflate(content: bytes, size: int | None) -> NDArray[np.uint8] | None:
    """The rows, each with its filter type before it, of a file of that size that is exactly as `encode_png` writes it.

    Returns:
        (h, 3 w + 1) uint8; None: the file is for OpenCV, be it another kind of PNG, damaged or of another size.
    """
    if len(content) <= _BEFORE + _AFTER:
        return None
    width, height = struct.unpack_from(">2L", content, len(_SIGNATURE) + 8)
    expected = (size or height, size or width)
    if (height, width) != expected or not (0 < height <= _LARGEST and 0 < width <= _LARGEST):
        return None
    pixels = memoryview(content)[_BEFORE:-_AFTER]
    if _framed(height, width, _RGB, pixels) != content:
        return None
    length = height * (3 * width + 1)
    inflater = isal_zlib.decompressobj()
    try:
        rows = inflater.decompress(pixels, length + 1)  # with exactly `length` it would not come to the checksum
    except isal_zlib.error:  # type: ignore[misc]  # its stub gives an instance
        return None
    whole = inflater.eof and not inflater.unused_data and len(rows) == length
    if not whole or rows[:: 3 * width + 1] != bytes([_UP]) * height:
        return None
    return np.frombuffer(rows, np.uint8).reshape(height, -1)


def _add_up(images: NDArray[np.uint8]) -> None:
    """Replace the rows of images (n, h, w, 3), contiguous, by the sums of the rows so far, modulo 256.

    First each row and those 64, 128, ... above it are added up, then in six steps the sums of 64 successive rows. That
    is a seventh of the time of `np.add.accumulate`, which goes down each column for itself, and less than half of that
    of a loop over the rows: few calls on much data (LAB_BOOK.md, 2026-11-27).
    """
    width = images.shape[2] * 3
    sums = images.reshape(len(images), -1)
    other = np.empty_like(sums)
    for start in range(_BLOCK * width, sums.shape[1], _BLOCK * width):
        block = sums[:, start : start + _BLOCK * width]
        block += sums[:, start - _BLOCK * width :][:, : block.shape[1]]
    for step in range(_BLOCK_STEPS):  # an even number of them: the last writes to `images`
        above = width << step
        np.add(sums[:, above:], sums[:, :-above], out=other[:, above:])
        other[:, :above] = sums[:, :above]
        sums, other = other, sums


def _read_by_opencv(path: Path, content: bytes, size: int | None) -> NDArray[np.uint8]:
    """Any image that OpenCV reads, with the errors of `read_png`."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
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
