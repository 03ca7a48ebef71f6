"""Draws docs/images/phantoms.png: phantoms beside a real series, in the brain window.

    python docs/phantom_montage.py FOLDER_WITH_A_REAL_SERIES [docs/images/phantoms.png]

The picture in the documentation shows a head scanned on a GE HiSpeed (docs/images/LICENSE-ge-head.txt).
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom

from ich.config.read import validate
from ich.phantom.patient import Patient, draw_patient, make_slice

SIDE = 250  # pixels of a tile
LEVELS = (0.31, 0.62, 0.76)  # low, middle, high: share of the way from the lowest slice to the vertex
HEIGHTS = (12.0, 57.0, 88.0)  # the phantoms' slices nearest to these, mm over the orbitomeatal line
LABELS = {
    "epidural": "epidural",
    "subdural": "subdural",
    "subarachnoid": "subarachnoid",
    "intraventricular": "intraventr.",
    "intraparenchymal": "intraparench.",
}


def tile(hu: np.ndarray, text: str) -> np.ndarray:
    """A square image in the brain window (40/80), labelled."""
    grey = (np.clip(hu / 80, 0, 1) * 255).astype(np.uint8)
    image = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    cv2.putText(image, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1, cv2.LINE_AA)
    return image


def real_series(folder: Path) -> list[np.ndarray]:
    """HU of a series, lowest slice first."""
    slices = sorted((pydicom.dcmread(path) for path in folder.glob("*.dcm")), key=lambda d: d.ImagePositionPatient[2])
    return [s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]


def nearest(patient: Patient, height: float) -> int:
    return int(np.argmin(np.abs(np.array(patient.heights) - height)))


def without_bleeds(patients: list[Patient]) -> list[Patient]:
    return [patient for patient in patients if not patient.lesions]


def clearest(patients: list[Patient], kind: str) -> np.ndarray:
    """HU of the slice with the largest bleed of this kind among the densest of patients who bleed in this way only."""
    single = [patient for patient in patients if {lesion.kind for lesion in patient.lesions} == {kind}]
    densest = sorted(single, key=lambda patient: max(lesion.hu for lesion in patient.lesions))[-3:]
    slices = [make_slice(patient, index) for patient in densest for index in range(len(patient.heights))]
    return max(slices, key=lambda made: made.pixels[kind]).hu


def montage(folder: Path) -> np.ndarray:
    config = validate({"workspace": ".", "seed": 2019, "steps": ["phantom"], "phantom": {"quirks": False}}, "montage")
    patients = [draw_patient(config, number, {}) for number in range(300)]
    real = real_series(folder)
    healthy = without_bleeds(patients)
    rows = []
    for share, height, name in zip(LEVELS, HEIGHTS, ("low", "middle", "high"), strict=True):
        tiles = [tile(real[round(share * (len(real) - 1))], f"real (GE), {name}")]
        tiles += [
            tile(make_slice(p, nearest(p, height)).hu, f"phantom {i + 1}, {name}") for i, p in enumerate(healthy[:4])
        ]
        rows.append(np.hstack(tiles))
    rows.append(np.hstack([tile(clearest(patients, kind), f"phantom: {name}") for kind, name in LABELS.items()]))
    return np.vstack(rows)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    target = Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images/phantoms.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), montage(Path(sys.argv[1])), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
