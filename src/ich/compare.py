"""`ich train --compare`: several models on one split, what each costs, and how sure their differences are."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich.card import read_card
from ich.config import Experiment, StepName
from ich.config.read import validate
from ich.config.training import ModelName
from ich.errors import ConfigError
from ich.evaluation import predictions
from ich.evaluation.findings import bootstrap_rng
from ich.evaluation.statistics import results
from ich.evaluation.statistics.comparison import compare_models
from ich.evaluation.terminal import comparison_markdown
from ich.files import read_parquet, write_json, write_text
from ich.runs import runs_of
from ich.stages import is_up_to_date, read_record, run_step
from ich.workspace import Workspace, provenance


def candidates(config: Experiment, models: Sequence[ModelName]) -> list[Experiment]:
    """The configs of the models to compare: runs <name>-<model>, with their files in models/<name>-<model>/.

    Raises:
        ConfigError: fewer than two models, or one twice; one of them does not fit the config, or it evaluates others.
    """
    if len(models) < 2 or len(set(models)) < len(models):
        raise ConfigError(f"--compare takes two or more models, each once, got {' '.join(models) or 'none'}")
    if config.evaluate.of_others:
        raise ConfigError(
            "--compare evaluates the models that it trains: leave evaluate.models and evaluate.predictions out"
        )
    found, content = [], config.model_dump(mode="json", by_alias=True)
    for model in models:
        name = f"{config.name}-{model}"
        changed = {"name": name, "model_folder": f"models/{name}", "train": content["train"] | {"model": model}}
        found.append(validate(content | changed, f"--compare {model}"))
    return found


def compare(config: Experiment, runs: Sequence[Experiment]) -> dict[str, Any]:
    """Train and evaluate models one after the other, and write the comparison down.

    What is finished and stands is not done again. Writes runs/<name>-comparison.json and the same as a Markdown table,
    .md. Figures are of calibrated probabilities, those of each run's own report.

    Args:
        config: of the experiment, with the steps before training done.
        runs: from `candidates`; the first is what the others are compared with.

    Returns:
        name, test_slices, test_patients, phantom, incomplete (an evaluation was); and candidates: of each model its
        run, parameters, seconds of training with validation, stages (stage, epochs, images_per_s), figures on the test
        slices with 95 % intervals, differences from the first model's, that of the AUROC of any by patient (DeLong's
        test), and notes of training and evaluation.
    """
    records = []
    for run in runs:
        records.append([_done("train", run), _done("evaluate", run)])
        gc.collect()  # Keras's networks refer to themselves, and would stay in memory beside the next
    samples = [_test_sample(run) for run in runs]
    compared = compare_models(samples, config.evaluate.bootstrap, lambda: bootstrap_rng(config.seed, "test"))
    rows = [
        _cost(run) | {
            "figures": {name: figure.as_json() for name, figure in each.figures.items()},
            "differences": {name: figure.as_json() for name, figure in each.differences.items()},
            "by_patient": None if each.by_patient is None else each.by_patient.as_json(),
            "notes": [note for record in pair for note in record["notes"]],
        }
        for run, each, pair in zip(runs, compared, records, strict=True)
    ]  # fmt: skip
    content = {
        "name": config.name, "test_slices": len(samples[0]), "test_patients": samples[0].n_patients,
        "phantom": "phantom" in config.steps,
        "incomplete": any(record["incomplete"] for pair in records for record in pair),
        "candidates": rows, "provenance": provenance(),
    }  # fmt: skip
    write_json(comparison_path(config, "json"), content)
    write_text(comparison_path(config, "md"), "\n".join(comparison_markdown(content)) + "\n")
    return content


def _done(step: StepName, config: Experiment) -> dict[str, Any]:
    """The record of a step, which is run if it must be."""
    record = is_up_to_date(step, config)
    if record is None:
        run_step(step, config)
        record = read_record(step, Workspace(config))
    return record


def _test_sample(config: Experiment) -> results.Sample:
    """Test slices with the probabilities that the run's report shows, calibrated where it calibrates."""
    table = read_parquet(Workspace(config).predictions)
    scored, reported = predictions.select(table, "test"), predictions.calibrated(table, "test")
    undecided = np.zeros_like(scored.truth)  # no figure that is compared depends on a threshold
    return results.Sample(scored.truth, reported, undecided, scored.patients)


def _cost(config: Experiment) -> dict[str, Any]:
    workspace = Workspace(config)
    run = next(run for run in runs_of(workspace) if run["name"] == config.name)
    return {
        "model": config.train.model, "run": config.name,
        "parameters": read_card(workspace.final_model).training.get("parameters"),
        "seconds": run["seconds"],
        "stages": [{name: stage[name] for name in ("stage", "epochs", "images_per_s")} for stage in run["stages"]],
    }  # fmt: skip


def comparison_path(config: Experiment, ending: str) -> Path:
    """Of the comparison, by its ending: json or md."""
    return Workspace(config).run.parent / f"{config.name}-comparison.{ending}"
