"""Which slices are held out, and what predicts them: the trained model, models that are named, or a file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ich.calibration import Calibration, Calibrator
from ich.card import Card, read_cards
from ich.config.keys import differences
from ich.errors import DataError
from ich.evaluation import compute, evaluated_models, leakage, predictions
from ich.evaluation.compute import Compute
from ich.evaluation.elsewhere import scored as elsewhere
from ich.evaluation.elsewhere.cells import refuse_unreadable
from ich.evaluation.predictions import Scored
from ich.evaluation.validation import calibrate as fitting
from ich.files import fingerprint, read_parquet
from ich.labels import IMAGE_ID, LABELS, is_augmented, read_table
from ich.neighbours import read_slices
from ich.prepare.identical import find_identical
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.workspace import SPLITS, Workspace, provenance

HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class HeldOut:
    """What is known before anything is predicted.

    Attributes:
        tables: split -> its slices with patient, study, series and the six labels.
        cards: of the models that are evaluated; none where predictions come from a file.
        facts: of data, models and provenance, JSON-able.
    """

    tables: Mapping[str, pl.DataFrame]
    cards: list[Card]
    facts: dict[str, Any]


def collect(workspace: Workspace) -> HeldOut:
    """Read tables and cards; refuse leaks, and models that may not be evaluated here.

    Raises:
        DataError: it does, or a file is missing or damaged.
    """
    config = workspace.config
    ledger = read_parquet(workspace.slices, IDENTITY_SCHEMA)
    tables: dict[str, pl.DataFrame] = {
        split: leakage.with_patients(read_table(workspace.table(split)), ledger, workspace.table(split).name)
        for split in SPLITS
    }
    for split in SPLITS[1:]:
        if tables[split].is_empty():
            raise DataError(
                f"{workspace.table(split)} has no rows; check split.fractions and sample, then run split again"
            )
    shared = leakage.refuse_leaks(tables, config.split.unit, find_identical(workspace.slices))
    cards = [] if config.evaluate.predictions else read_cards(evaluated_models.files(workspace))
    if config.evaluate.predictions:
        evaluated_models.refuse_name_of_a_training(workspace)
    elif config.evaluate.models:
        evaluated_models.refuse_unfit(cards, workspace)
    else:
        _refuse_other_training(cards[0], workspace)
    facts = {"shared_patients": shared.patients, "shared_pixels": shared.pixels}
    return HeldOut(tables, cards, facts | _facts(workspace, tables, ledger, cards))


def _facts(
    workspace: Workspace, tables: Mapping[str, pl.DataFrame], ledger: pl.DataFrame, cards: list[Card]
) -> dict[str, Any]:
    config, train = workspace.config, tables["train"]
    natural = train.filter(~pl.col(IMAGE_ID).map_elements(is_augmented, pl.Boolean))
    file = config.evaluate.predictions
    return {
        "workspace": True,
        "name": config.name,
        "model": " + ".join(sorted({card.model for card in cards})) or (file.name if file else ""),
        "models": evaluated_models.describe(cards, workspace) if cards else [],
        "trained_here": not config.evaluate.models and file is None,
        "phantom": "phantom" in config.steps,
        "split_unit": config.split.unit,
        "patients_known": True,
        "ledger": dict(ledger.group_by("status").len().sort("status").iter_rows()),
        "train": {
            "slices": len(natural),
            "augmented": len(train) - len(natural),
            "patients": train["patient"].n_unique(),
            "natural": {label: int(natural[label].sum()) for label in LABELS},
            "positives": {label: int(train[label].sum()) for label in LABELS},
        },
        "banners": [UNKNOWN_TRAINING] if file else [],
        "data_notes": [_NEIGHBOURS] if config.train.input == "neighbours" else [],
        "agreement": None,
        "incoherent": 0,
        "provenance": provenance()
        | settings_of(config.model_dump(mode="json", by_alias=True), config.seed)
        | {"files": _files(workspace)},
    }


# Of predictions from a file: what is in bold on the page, and the rest.
UNKNOWN_TRAINING = (
    "What these predictions' model was trained on is not known.",
    "If it has seen patients who are scored here, these figures are optimistic.",
)
_NEIGHBOURS = (
    "The model sees a slice with its neighbours; a neighbour without labels has no image here, though `ich predict` "
    "sees it: there the same slice can get another probability."
)


def settings_of(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What names the settings in the provenance: the seed, and the SHA-256 of the config as JSON with sorted keys."""
    return {"seed": seed, "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()}


def _files(workspace: Workspace) -> dict[str, dict[str, str]]:
    """What the figures rest on, by name and SHA-256.

    Raises:
        DataError: one of them is missing.
    """
    for file in (workspace.config.evaluate.predictions, workspace.config.evaluate.compare_with):
        if file is not None:
            refuse_unreadable(file, "predictions")
    named = {
        "Training labels": workspace.table("train"),
        "Validation labels": workspace.table("val"), "Test labels": workspace.table("test"), "Split": workspace.splits,
        "Ledger": workspace.slices, "Predictions": workspace.config.evaluate.predictions,
        "Compared with": workspace.config.evaluate.compare_with,
    }  # fmt: skip
    return {
        title: {"name": path.name, "sha256": fingerprint(path)} for title, path in named.items() if path is not None
    }


def _refuse_other_training(card: Card, workspace: Workspace) -> None:
    """A model of another split has seen some of what is held out now; one of other settings is not the report's.

    Either lies there after a training that was cut off: the last finished model stays until the new one is saved.
    """
    config = workspace.config
    run = card.training.get("run")
    if (run, card.model) != (config.name, config.train.model):
        raise DataError(
            f"the saved model is {card.model} of run {run}, not {config.train.model} of run {config.name}; train that "
            "first (models/ holds the last that was trained)"
        )
    if card.training.get("splits_sha256") != fingerprint(workspace.splits):
        raise DataError(
            f"the model was trained with another {workspace.splits.name}: what is held out now may have been trained "
            "on; train again"
        )
    changed = differences(card.config, config.model_dump(mode="json", by_alias=True), ("preprocess", "train"))
    if change := next(changed, None):
        raise DataError(f"the saved model was trained with {change}; train again")
    made_for = (card.windows, card.size, card.aspect, card.input, card.neighbours_window)
    how, train = config.preprocess, config.train
    if made_for != (how.windows, how.size, how.aspect, train.input, train.neighbours_window):
        raise DataError(f"the card of {workspace.final_model.name} contradicts the config it holds; train again")


def predict(workspace: Workspace, known: HeldOut) -> tuple[pl.DataFrame, dict[str, int], Compute | None]:
    """The table of `predictions`, by split how many slices were raised, and what a slice costs each stage to compute.

    Raises:
        DataError: an image or model cannot be used, or predictions from a file do not fit the tables.
    """
    file = workspace.config.evaluate.predictions
    held_out = {split: known.tables[split] for split in HELD_OUT}
    if file is not None:
        given = elsewhere.on_splits(file, held_out)
        known.facts["incoherent"] = given["test"].incoherent
        if "val" not in given:
            known.facts["data_notes"] += [f"{file.name} holds no validation slices: thresholds are fixed."]
        return predictions.of_file(given, held_out), {}, None
    from ich.ensemble import load_models  # Keras loads only when a network runs, not to score predictions
    from ich.keras_backend import keep_compiled_in

    slices = {"val": read_slices(workspace, "val"), "test": read_slices(workspace, "test")}
    keep_compiled_in(workspace.compiled)
    detector = load_models(evaluated_models.files(workspace))
    table, raised = predictions.predict(detector, held_out, slices, workspace.config.evaluate.ungated)
    return table, raised, compute.of(detector)


def calibrate(workspace: Workspace, known: HeldOut, scored: Mapping[str, Scored]) -> Calibration | None:
    """Fitted on validation; None for predictions from a file, which are scored as they are."""
    if not known.cards:
        return None
    found = fitting.calibration_from(scored["val"], known.cards, workspace.config, provenance())
    ids = (scored[split].image_ids.tolist() for split in HELD_OUT)
    leakage.refuse_fitted_on_test("the calibration", found.fitted_on.model_dump(), *ids)
    if workspace.config.evaluate.calibration == "none":
        untouched = Calibrator(method="none", reason="evaluate.calibration is none")
        return found.model_copy(update={"labels": dict.fromkeys(LABELS, untouched)})
    return found
