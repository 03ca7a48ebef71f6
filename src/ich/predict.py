"""Probabilities for DICOM files: headers, then images in order along each series, through the detector."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ich.calibration import Calibration, find_calibration
from ich.detector import Predictor
from ich.dicom.find import find_files
from ich.dicom.header import SliceHeader
from ich.dicom.series import order_series
from ich.ensemble import load_models
from ich.errors import DataError, printable
from ich.files import refuse_to_replace, write_csv
from ich.labels import LABELS
from ich.progress import progress_bar
from ich.slice_images import SliceImage, read_headers, slice_images

COLUMNS = (
    "file",
    "series",
    "slice_index",
    "position_mm",
    "slice_spacing_mm",
    *LABELS,
    "gated_in",
    "repairs",
)  # of the CSV
_NO_SERIES = "unknown"
_UNNAMED = "no SeriesInstanceUID: these slices may be of several series"
_AT_ONCE = 256  # slices whose images are held in memory: 50 MB of 256 pixels


@dataclass(frozen=True)
class SeriesPredictions:
    """What `predict` found.

    Attributes:
        rows: one a slice, series by series, each in order along its normal: file, series, slice_index, position_mm,
            slice_spacing_mm, repairs, gated_in (whether stage 2 saw it), and the probability of each label.
        series: one a series, in the order of the rows: series, slices, slice_spacing_mm, tilt_degrees, and oddities,
            a short line each (`ich.dicom.series.SeriesOrder.oddities`).
        unreadable: path and reason of every file that gave no slice.
        models: of each model whose probabilities these are, or are the mean of: file, model (its kind), sha256.
        calibration: whether they are calibrated and by what (`ich.calibration.find_calibration`).

    Bytes of a path that are not UTF-8 are written as escapes: caf\\xe9.dcm.
    """

    rows: list[dict[str, Any]]
    series: list[dict[str, Any]]
    unreadable: list[tuple[str, str]]
    models: list[dict[str, str]]
    calibration: dict[str, Any]

    def by_series(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Series and its rows."""
        for series, rows in groupby(self.rows, key=lambda row: row["series"]):
            yield str(series), list(rows)

    def as_json(self) -> dict[str, Any]:
        """For `--json`: models, calibration, series and rows as they are, and the unreadable files."""
        return {
            "research_use_only": True,
            "models": self.models,
            "calibration": self.calibration,
            "series": self.series,
            "slices": self.rows,
            "unreadable": [{"file": path, "reason": reason} for path, reason in self.unreadable],
        }

    def write_csv(self, path: Path) -> None:
        """One line a slice; repairs are joined with spaces. A link is followed."""
        table = pl.DataFrame(
            [row | {"repairs": " ".join(row["repairs"])} for row in self.rows], infer_schema_length=None
        )
        write_csv(path.resolve(), table.select(COLUMNS))


def predict(inputs: Iterable[Path], models: Sequence[Path], calibration: Path | None = None) -> SeriesPredictions:
    """Predict every slice of the given files and folders.

    Args:
        inputs: DICOM files, or folders that are searched for `.dcm` files and DICOM files of other names.
        models: `.keras` files, each with its card beside it; the mean of several is taken.
        calibration: file of a calibration, or `none`; None is that beside the model (`ich.calibration`).

    Raises:
        DataError: an input does not exist, nothing in them is a readable CT slice, a model cannot be loaded, two
            cannot be averaged (`ich.card.read_cards`), or the calibration cannot be used.
    """
    paths = find_files(inputs)
    detector = load_models(models)
    calibrated = find_calibration(models, [member.card.file_sha256 for member in detector.members], calibration)
    with progress_bar("read headers", total=len(paths)) as advance:
        headers, unreadable = read_headers(paths, advance)
    found: dict[int, tuple[dict[str, Any], SliceHeader]] = {}
    with progress_bar("predict", total=len(headers)) as advance:
        images = slice_images(paths, headers, detector.card, unreadable, advance)
        while group := list(islice(images, _AT_ONCE)):
            rows = _predict_slices(detector, calibrated.calibration, group, paths)
            found |= {each.number: (row, each.header) for each, row in zip(group, rows, strict=True)}
    failures = [(printable(paths[number]), unreadable[number]) for number in sorted(unreadable)]
    if not found:
        first = f"; {failures[0][0]}: {failures[0][1]}" if failures else ""
        raise DataError(f"no readable CT slice among {len(paths)} files{first}")
    in_order_of_files = [found[number] for number in sorted(found)]
    return SeriesPredictions(*_in_order(in_order_of_files), failures, _about(models, detector), calibrated.about)


def refuse_output(output: Path) -> None:
    """Check, before anything is computed, that nothing but an earlier table would be written over.

    Raises:
        DataError: `output` is a folder, or there already and does not begin as our tables do.
    """
    refuse_to_replace(output, _is_our_table)


def _is_our_table(path: Path) -> bool:
    header = ",".join(COLUMNS).encode()
    with path.open("rb") as file:
        return file.read(len(header) + 1).rstrip(b"\n") == header


def _about(models: Sequence[Path], detector: Predictor) -> list[dict[str, str]]:
    cards = [member.card for member in detector.members]
    return [
        {"file": printable(model), "model": card.model, "sha256": card.file_sha256}
        for model, card in zip(models, cards, strict=True)
    ]


def _predict_slices(
    detector: Predictor, calibration: Calibration | None, slices: list[SliceImage], paths: list[Path]
) -> list[dict[str, Any]]:
    predictions = detector.predict(np.stack([each.image for each in slices]))
    found = predictions.probabilities
    if calibration is not None:
        found = calibration.apply(found, predictions.gated_in)
    return [
        {
            "file": printable(paths[each.number]),
            "series": each.header.series or _NO_SERIES,
            "repairs": list(each.repairs),
            "gated_in": bool(gated_in),
            **{label: float(value) for label, value in zip(LABELS, probabilities, strict=True)},
        }
        for each, probabilities, gated_in in zip(slices, found, predictions.gated_in, strict=True)
    ]


def _in_order(
    found: list[tuple[dict[str, Any], SliceHeader]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Series in the order met, slices along the normal; and what there is to say of each series."""
    rows, headers = zip(*found, strict=True)
    members: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        members.setdefault(row["series"], []).append(number)
    ordered, about = [], []
    for name, numbers in members.items():
        series = order_series([headers[number] for number in numbers])
        spacing = _known(series.slice_spacing_mm)
        for index, (number, position) in enumerate(zip(series.order, series.positions_mm, strict=True)):
            place = {"slice_index": index, "position_mm": _known(position), "slice_spacing_mm": spacing}
            ordered.append(rows[numbers[number]] | place)
        unnamed = [_UNNAMED] if name == _NO_SERIES else []
        about.append(
            {
                "series": name, "slices": len(numbers), "slice_spacing_mm": spacing,
                "tilt_degrees": _known(series.tilt_degrees), "oddities": unnamed + series.oddities(),
            }
        )  # fmt: skip
    return ordered, about


def _known(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)
