"""Evaluate without a workspace: predictions and labels from files, scored as they are, with a report of their own."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ich.calibration import Threshold, read_any_calibration
from ich.config import Evaluate
from ich.errors import DataError, printable
from ich.evaluation import findings, leakage, report
from ich.evaluation.elsewhere import scored as elsewhere
from ich.evaluation.elsewhere.scored import Elsewhere
from ich.evaluation.held_out import UNKNOWN_TRAINING, settings_of
from ich.evaluation.inspection import to_look_at
from ich.evaluation.statistics.results import Estimate
from ich.evaluation.statistics.sample import Sample
from ich.evaluation.validation.decisions import Thresholds
from ich.files import fingerprint, read_json
from ich.labels import IMAGE_ID, LABELS
from ich.level_names import Level
from ich.workspace import provenance

_ONE_LEFT = "1 row with an unknown label is left out."


def evaluate_files(
    predictions: Path, labels: Path, output: Path, settings: Evaluate, seed: int, thresholds: Path | None = None
) -> dict[str, Any]:
    """Score predictions against labels and write metrics and report.

    Args:
        predictions: table of probabilities (`ich.evaluation.elsewhere.prediction_table`).
        labels: the competition's label CSV, one of our tables, or labels by study
            (`ich.evaluation.elsewhere.study_labels`).
        output: folder of the report: a new one, an empty one, or that of an earlier report.
        settings: threshold, bootstrap, local_prevalence, mistakes.
        seed: of the bootstrap.
        thresholds: a calibration file of `ich evaluate`, whose operating points are used; a study's are a series'.

    Returns:
        What metrics.json holds.

    Raises:
        DataError: a file cannot be used, they do not fit each other, or the folder holds something else.
    """
    refuse_output(output)
    given, notes = _with_known_labels(elsewhere.on_labels(predictions, labels))
    replicates = settings.bootstrap if given.patients_known else 0
    settings = settings.model_copy(update={"bootstrap": replicates})
    undecided = {"test": _levels(given)}
    found = findings.find(undecided, settings, seed, _points(thresholds, given) if thresholds else None)
    first = found.samples["test"][found.levels[0]]
    reliability = {level: findings.reliability(sample) for level, sample in found.samples["test"].items()}
    headers = pl.DataFrame({IMAGE_ID: given.ids.tolist()})
    content = {
        **_facts(given, predictions, labels, settings, seed),
        "data_notes": notes,
        **found.content,
        "calibration": None, "before_calibration": None, "reliability": {"after": reliability, "before": {}},
        "not_calibrated": "These probabilities come from a file, and are scored as they are.",
        "mistakes": to_look_at.find(first, given.ids, headers, settings.mistakes),
    }  # fmt: skip
    if not given.patients_known:
        _forget_patients(content)
        content, figures = _without_intervals(content), _without_intervals(found.figures)
        found = replace(found, figures=figures)
    report.write(output, content, found, None, None, None)
    return content


def refuse_output(folder: Path) -> None:
    """Check, before anything is computed, that nothing but an earlier report would be written over.

    Raises:
        DataError: something else is there.
    """
    shown = printable(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--output {shown} is a file; give a folder for the report")
    if folder.is_dir() and any(folder.iterdir()) and not _is_of_files(folder / "metrics.json"):
        raise DataError(f"--output {shown} holds something else than an earlier report of files; give a new folder")
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(folder if folder.is_dir() else nearest, os.W_OK):
        raise DataError(f"--output {shown} cannot be made or written to; give another folder")


def _is_of_files(metrics: Path) -> bool:
    """Whether a report is one of ours, and not a workspace's; metrics.json is written first, the page last."""
    try:
        content = read_json(metrics)
    except DataError:
        return False
    return isinstance(content, dict) and content.get("workspace") is False


def _points(file: Path, given: Elsewhere) -> dict[Level, Thresholds]:
    """Thresholds of a calibration file, by level and rule, in label order; their source names the file.

    Raises:
        DataError: the file cannot be used, or the thresholds were chosen on the very slices that are scored.
    """
    calibration = read_any_calibration(file)
    if calibration.fitted_on.image_ids_sha256 == leakage.ids_sha256(given.ids.tolist()):
        raise DataError(f"the thresholds of {file} were chosen on the slices that are scored; score others")
    points: dict[Level, Thresholds] = {
        level: {
            rule: tuple(
                Threshold(value=by_label[label].value, source=f"{file.name}: {by_label[label].source}")
                for label in LABELS
            )
            for rule, by_label in rules.items()
        }
        for level, rules in calibration.operating_points.items()
    }
    return points | ({"study": points["series"]} if "series" in points else {})


def _levels(given: Elsewhere) -> dict[Level, Sample]:
    nothing = np.zeros_like(given.truth)
    if given.level == "study":
        return {"study": Sample(given.truth, given.probabilities, nothing, given.patients, "study")}
    slices = Sample(given.truth, given.probabilities, nothing, given.patients, "slice")
    if not given.patients_known:
        return {"slice": slices}
    return findings.at_levels(given.truth, given.probabilities, given.series, given.patients)


def _facts(given: Elsewhere, predictions: Path, labels: Path, settings: Evaluate, seed: int) -> dict[str, Any]:
    """What the report says of data and provenance; nothing of models, which are not known."""
    files = {
        title: {"name": path.name, "sha256": fingerprint(path)}
        for title, path in (("Predictions", predictions), ("Labels", labels))
    }
    return {
        "workspace": False, "name": predictions.stem,
        "model": predictions.name, "models": [], "trained_here": False, "phantom": False,
        "split_unit": None, "shared_patients": 0, "shared_pixels": None, "patients_known": given.patients_known,
        "ledger": {}, "train": None, "raised": {}, "incoherent": given.incoherent, "agreement": _agreement(given),
        "banners": [UNKNOWN_TRAINING], "gate": None, "baseline": None, "compared": None, "subgroups": None,
        "examples": [],
        "provenance": provenance() | settings_of(settings.model_dump(mode="json"), seed) | {"files": files},
    }  # fmt: skip


def _forget_patients(content: dict[str, Any]) -> None:
    """Where patients are not known, every slice stood for one: their numbers would say something untrue."""
    for by_level in content["splits"]["test"]["levels"].values():
        by_level["patients"] = None
        for each in by_level["positives"].values():
            each["patients"] = None


def _without_intervals(found: Any) -> Any:
    """The same with the true reason for there being no interval: none could be asked for."""
    asked, unknown = "no interval was asked for", "no interval: patients are not known"
    if isinstance(found, Estimate):
        return replace(found, reason=unknown) if found.reason == asked else found
    if isinstance(found, Mapping):
        return {name: _without_intervals(each) for name, each in found.items()}
    if isinstance(found, list):
        return [_without_intervals(each) for each in found]
    return unknown if found == asked else found


def _with_known_labels(given: Elsewhere) -> tuple[Elsewhere, list[str]]:
    """Only rows whose six labels are all known, and what is to be told of the data.

    Raises:
        DataError: there is none.
    """
    complete = given.known.all(axis=1)
    if not complete.any():
        raise DataError("no row of the labels has all six of them; fill in what is known")
    notes = list(given.notes)
    if given.extra:
        are = "1 prediction is" if given.extra == 1 else f"{given.extra:,} predictions are"
        notes.append(f"{are} of something without labels.")
    if complete.all():
        return given, notes
    left = int((~complete).sum())
    notes.append(f"{left:,} rows with an unknown label are left out." if left > 1 else _ONE_LEFT)
    names = ("ids", "patients", "series", "truth", "known", "probabilities")
    kept = {name: getattr(given, name)[complete] for name in names}
    return given._replace(**kept), notes


def _agreement(given: Elsewhere) -> dict[str, Any] | None:
    """JSON-able, with null for NaN; and how many the majority calls positive."""
    if given.agreement is None:
        return None
    return {
        label: {
            **each,
            "majority_positive": int(given.truth[:, column].sum()),
            "fleiss_kappa": _known(each["fleiss_kappa"]),
            "pairs": {
                pair: {name: _known(value) for name, value in figures.items()}
                for pair, figures in each["pairs"].items()
            },
        }
        for column, (label, each) in enumerate(given.agreement.items())
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
