"""PNG files of images: written by steps 3 and 5, read by step 5, training and evaluation."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ich.errors import DataError


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an image, uint8: (h, w, 3) RGB or (h, w) grey.

    No compression level is set: OpenCV's default is 2.3 times faster than level 1 (measured, 256 px).
    """
    return bytes(cv2.imencode(".png", image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])


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
