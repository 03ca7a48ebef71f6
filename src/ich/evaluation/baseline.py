"""The one-line baseline for `any`: how many pixels inside the skull have the density of clotted blood.

A detector that does not beat it has learned nothing beyond density, or its data are too easy.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from ich.dicom.read import parse_slice
from ich.errors import UnreadableSlice
from ich.sources import read_file
from ich.sources.file import SourceFile

BONE_HU = 300
BLOOD_HU = (50, 80)
_GAP = 1 / 64  # of the slice's width: the closing bridges sutures and thin bone, 8 pixels or about 4 mm of 512


def inside_skull(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Pixels enclosed by bone (above 300 HU, gaps of some millimetres closed): not bone, not reachable from the border.

    Args:
        hu: (rows, columns)

    Returns:
        (rows, columns) bool; all False where nothing is enclosed, as above the vertex.
    """
    bone = (hu > BONE_HU).astype(np.uint8)
    size = 2 * round(hu.shape[1] * _GAP / 2) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    # A border of air, so that one fill from the corner reaches all that is outside.
    barrier = np.pad(cv2.morphologyEx(np.pad(bone, size), cv2.MORPH_CLOSE, kernel), 1)
    cv2.floodFill(barrier, None, (0, 0), 1)
    enclosed = barrier == 0
    margin = size + 1
    return np.asarray(enclosed[margin:-margin, margin:-margin])


def blood_pixels(hu: NDArray[np.int16]) -> int:
    """Number of pixels of 50 to 80 HU inside the skull of a slice (rows, columns)."""
    low, high = BLOOD_HU
    return int(np.count_nonzero(inside_skull(hu) & (hu >= low) & (hu <= high)))


def scores(files: Sequence[SourceFile], advance: Callable[[int], None] = lambda count: None) -> NDArray[np.float64]:
    """`blood_pixels` of every DICOM file; NaN for one that cannot be read.

    Args:
        files: n files.
        advance: told of each finished file.

    Returns:
        (n,)
    """

    def score(file: SourceFile) -> float:
        try:
            return float(blood_pixels(parse_slice(read_file(file)).hu))
        except UnreadableSlice:
            return float("nan")
        finally:
            advance(1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV and file reads release the interpreter lock
        return np.fromiter(pool.map(score, files), np.float64, len(files))
