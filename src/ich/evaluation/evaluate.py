"""Evaluate: predictions of validation and test, then metrics, figures and a report from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from ich.card import Card, read_cards
from ich.config import Experiment
from ich.config.keys import differences
from ich.errors import DataError
from ich.evaluation import (
    baseline,
    evaluated_models,
    examples,
    leakage,
    plots,
    predictions,
    report,
    results,
    summary,
    terminal,
)
from ich.evaluation.predictions import Scored
from ich.evaluation.thresholds import Threshold, choose
from ich.files import fingerprint, read_parquet, write_bytes, write_csv, write_json, write_parquet
from ich.labels import IMAGE_ID, LABELS, is_augmented, read_table
from ich.neighbours import read_slices
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.progress import progress_bar
from ich.sources import locate_files
from ich.workspace import SPLITS, Outcome, Workspace, provenance

HELD_OUT = ("val", "test")


def evaluate(config: Experiment) -> Outcome:
    """Predict validation and test, and write predictions.parquet, metrics.json, metrics.csv, figures and report.html.

    The outcome is incomplete if the baseline could not read a test slice, which preprocess could.

    Raises:
        DataError: the splits leak, one is empty, an image or the model is missing.
    """
    workspace = Workspace(config)
    ledger = read_parquet(workspace.slices, IDENTITY_SCHEMA)
    tables: dict[str, pl.DataFrame] = {
        split: leakage.with_patients(read_table(workspace.table(split)), ledger, workspace.table(split).name)
        for split in SPLITS
    }
    facts = _facts(workspace, tables, ledger)
    table, facts["raised"] = _predict(workspace, tables)
    write_parquet(workspace.predictions, table)

    table = read_parquet(workspace.predictions)
    scored = {split: predictions.select(table, split) for split in HELD_OUT}
    thresholds = choose(config.evaluate, scored["val"].truth, scored["val"].probabilities)
    samples = {split: summary.decide(each, thresholds) for split, each in scored.items()}
    figures = {
        split: results.estimates(samples[split], config.evaluate.bootstrap, summary.bootstrap_rng(config, split))
        for split in HELD_OUT
    }
    content = facts | _findings(workspace, scored, thresholds, samples, figures)
    outputs = _write(workspace, content, samples, figures)
    terminal.print_results(Console(stderr=True), content, workspace.report / "report.html")
    return _outcome(content, workspace, outputs)


def _facts(workspace: Workspace, tables: Mapping[str, pl.DataFrame], ledger: pl.DataFrame) -> dict[str, Any]:
    """What is known before anything is predicted; refuses leaks, and models that may not be evaluated here."""
    config = workspace.config
    shared_patients = leakage.refuse_leaks(tables, config.split.unit)
    cards = read_cards(evaluated_models.files(workspace))
    if config.evaluate.models:
        evaluated_models.refuse_unfit(cards, workspace)
    else:
        _refuse_other_training(cards[0], workspace)
    augmented = tables["train"][IMAGE_ID].map_elements(is_augmented, pl.Boolean)
    return {
        "name": config.name,
        "model": " + ".join(sorted({card.model for card in cards})),
        "models": evaluated_models.describe(cards, workspace),
        "phantom": "phantom" in config.steps,
        "split_unit": config.split.unit,
        "shared_patients": shared_patients,
        "ledger": dict(ledger.group_by("status").len().sort("status").iter_rows()),
        "train": {
            "slices": len(augmented) - int(augmented.sum()),
            "augmented": int(augmented.sum()),
            "patients": tables["train"]["patient"].n_unique(),
            "positives": {label: int(tables["train"][label].sum()) for label in LABELS},
        },
        "bootstrap": {"replicates": config.evaluate.bootstrap, "unit": "patient", "interval": "95 % percentile"},
        "provenance": provenance(),
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


def _predict(workspace: Workspace, tables: Mapping[str, pl.DataFrame]) -> tuple[pl.DataFrame, dict[str, int]]:
    from ich.ensemble import load_models  # Keras loads only when a network runs, not to score predictions
    from ich.keras_backend import keep_compiled_in

    slices = {"val": read_slices(workspace, "val"), "test": read_slices(workspace, "test")}
    keep_compiled_in(workspace.compiled)
    held_out = {split: tables[split] for split in HELD_OUT}
    return predictions.predict(load_models(evaluated_models.files(workspace)), held_out, slices)


def _findings(
    workspace: Workspace,
    scored: Mapping[str, Scored],
    thresholds: tuple[Threshold, ...],
    samples: Mapping[str, results.Sample],
    figures: Mapping[str, results.Estimates],
) -> dict[str, Any]:
    """Everything that is counted or estimated from the predictions."""
    config, val, test = workspace.config, scored["val"], scored["test"]
    chosen = examples.choose(
        test.truth[:, 0], samples["test"].decisions[:, 0], test.patients, config.evaluate.examples, config.seed
    )
    return {
        "thresholds": {
            label: {"value": threshold.value, "source": threshold.source}
            for label, threshold in zip(LABELS, thresholds, strict=True)
        },
        "splits": {
            split: summary.summarise_split(samples[split], figures[split], scored[split].gated_in) for split in scored
        },
        "constant_guess": summary.constant_guess(val, test),
        "among_positives": summary.subtypes_among_positives(test, config),
        "baseline": summary.compare_with_baseline(test, _count_blood_pixels(workspace, test), config),
        "examples": [example._asdict() | {"image_id": str(test.image_ids[example.row])} for example in chosen],
    }


def _count_blood_pixels(workspace: Workspace, test: Scored) -> NDArray[np.float64]:
    try:
        files = locate_files([str(image_id) for image_id in test.image_ids], workspace.dicom)
    except DataError:  # their place is gone, or not to be reached: as good as files that cannot be read
        return np.full(len(test.image_ids), np.nan)
    with progress_bar("baseline", len(files)) as done:
        return baseline.scores(files, done)


def _write(
    workspace: Workspace,
    content: Mapping[str, Any],
    samples: Mapping[str, results.Sample],
    figures: Mapping[str, results.Estimates],
) -> list[Path]:
    folder = workspace.report
    write_json(folder / "metrics.json", content)
    rows = [row for split in samples for row in results.tidy_rows(split, "slice", samples[split], figures[split])]
    write_csv(folder / "metrics.csv", pl.DataFrame(rows, infer_schema_length=None))
    drawn = plots.draw(content, samples, plots.read_history(workspace.run / "history.csv"))
    images = plots.draw_confusion_matrices(content["splits"]["test"]["counts"])
    images |= {name: pictures.light for name, pictures in drawn.items()}
    for name, png in images.items():
        write_bytes(folder / f"{name}.png", png)
    report.write(folder / "report.html", content, samples["test"], drawn, workspace)
    return [
        folder / name for name in ("metrics.json", "metrics.csv", "report.html", *(f"{name}.png" for name in images))
    ]


def _outcome(content: Mapping[str, Any], workspace: Workspace, outputs: list[Path]) -> Outcome:
    splits, unreadable = content["splits"], content["baseline"]["unreadable"]
    notes = [f"baseline: {unreadable} test slices could not be read"] if unreadable else []
    if content["shared_patients"]:
        notes.append(f"{content['shared_patients']} patients are in more than one split: the figures are optimistic")
    for file in dict.fromkeys(weights["file"] for model in content["models"] for weights in model["weights"]):
        notes.append(
            f"weights come from {file}: if it was trained on patients who are held out here, figures are wrong"
        )
    return Outcome(
        counts={
            "val": splits["val"]["slices"],
            "test": splits["test"]["slices"],
            "results": terminal.result_rows(content),
            "report": str(workspace.report / "report.html"),
        },
        outputs=[workspace.predictions, *outputs],
        incomplete=unreadable > 0,
        notes=notes,
    )
