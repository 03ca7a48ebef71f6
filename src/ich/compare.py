"""`ich train --compare`: several models on one split, what each costs, and how sure the differences are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ich.card import read_card
from ich.config import Experiment
from ich.config.training import ModelName
from ich.evaluation import predictions, results
from ich.evaluation.evaluate import evaluate
from ich.evaluation.intervals import percentile_interval
from ich.evaluation.metrics import Floats
from ich.evaluation.results import COLUMNS, Estimate
from ich.evaluation.summary import bootstrap_rng
from ich.evaluation.terminal import number
from ich.files import read_parquet, write_json, write_text
from ich.runs import runs_of
from ich.training.train import train
from ich.workspace import Workspace, provenance

# What is compared on the test slices: a name for the table, and where `ich.evaluation.results` has it.
_FIGURES = {
    "any AUROC": ("auroc", COLUMNS.index("any")),
    "mean AUROC": ("auroc", COLUMNS.index("macro")),
    "weighted log loss": ("weighted_log_loss", None),
}

COST = ("parameters", "training", "images/s")


def compare(config: Experiment, models: Sequence[ModelName]) -> dict[str, Any]:
    """Train and evaluate several models with otherwise the same config, and write the comparison down.

    Each is a run of its own, <name>-<model>, with its report; its files are in models/<name>-<model>/. What a run has
    finished is not done again. Writes runs/<name>-comparison.json and the same as a Markdown table, .md.

    Args:
        config: of the experiment, with the steps before training done.
        models: at least two, each once; the first is what the others are compared with.

    Returns:
        name, test_slices, test_patients, phantom; and candidates: of each model its run, parameters, seconds of
        training with validation, stages (stage, epochs, images_per_s), figures on the test slices with 95 % intervals,
        and its differences from the first, of a bootstrap that draws the same patients for both.
    """
    candidates = [candidate(config, model) for model in models]
    for each in candidates:
        train(each)
        evaluate(each)
    content = _content(config, candidates)
    write_json(_path(config, "json"), content)
    write_text(_path(config, "md"), "\n".join(markdown(content)) + "\n")
    return content


def candidate(config: Experiment, model: ModelName) -> Experiment:
    """The config of one of the models."""
    name = f"{config.name}-{model}"
    train = config.train.model_copy(update={"model": model})
    return config.model_copy(update={"name": name, "model_folder": f"models/{name}", "train": train})


def markdown(content: Mapping[str, Any]) -> list[str]:
    """Lines of a Markdown table, a row a model."""
    first = content["candidates"][0]["model"]
    figures = [*_FIGURES, *(f"{name} less {first}'s" for name in _FIGURES)]
    header = ["model", *COST, *figures]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [f"| {' | '.join(_cells(each))} |" for each in content["candidates"]]
    return [*lines, "", *legend(content)]


def legend(content: Mapping[str, Any]) -> list[str]:
    """What the figures are of."""
    lines = [
        f"{content['test_slices']:,} test slices of {content['test_patients']:,} patients, with 95 % intervals "
        "(bootstrap over patients; differences are paired). Images/s are of training, stage by stage.",
    ]
    return [*lines, "Phantom data: these figures say nothing about patients."] if content["phantom"] else lines


def print_comparison(console: Console, content: Mapping[str, Any]) -> None:
    """Models side by side: what each costs, then figure by figure, with the differences from the first.

    Args:
        console: where to.
        content: from `compare`.
    """
    rows = content["candidates"]
    costs = Table("model", *COST, title="cost", title_justify="left", box=None, padding=(0, 1))
    for row in rows:
        costs.add_row(row["model"], *cost_cells(row))
    console.print(costs)
    for name in rows[0]["figures"]:
        less = f"less {rows[0]['model']}'s"
        table = Table("model", name, less, title="", title_justify="left", box=None, padding=(0, 1))
        for row in rows:
            difference = row["differences"].get(name)
            table.add_row(row["model"], number(row["figures"][name]), number(difference) if difference else "")
        console.print(table)
    for line in legend(content):
        console.print(line, highlight=False)


def _cells(row: Mapping[str, Any]) -> list[str]:
    differences = [number(figure) for figure in row["differences"].values()] or ["–"] * len(_FIGURES)
    return [row["model"], *cost_cells(row), *(number(figure) for figure in row["figures"].values()), *differences]


def cost_cells(row: Mapping[str, Any]) -> list[str]:
    """Parameters, time of training, images/s by stage, as words."""
    speeds = " / ".join("–" if (speed := stage["images_per_s"]) is None else f"{speed:,.0f}" for stage in row["stages"])
    parameters = "–" if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f} M"
    return [parameters, f"{row['seconds'] / 60:.1f} min", speeds]


def _content(config: Experiment, candidates: Sequence[Experiment]) -> dict[str, Any]:
    samples = [_test_sample(each) for each in candidates]
    figures = [_replicates(each, config) for each in samples]
    rows = [
        _cost(each) | {
            "figures": {name: _estimate(*own[name]).as_json() for name in _FIGURES},
            "differences": {} if own is figures[0] else {
                name: _estimate(*(a - b for a, b in zip(own[name], figures[0][name], strict=True))).as_json()
                for name in _FIGURES
            },
        }
        for each, own in zip(candidates, figures, strict=True)
    ]  # fmt: skip
    return {
        "name": config.name, "test_slices": len(samples[0]), "test_patients": samples[0].n_patients,
        "phantom": "phantom" in config.steps, "candidates": rows, "provenance": provenance(),
    }  # fmt: skip


def _test_sample(config: Experiment) -> results.Sample:
    scored = predictions.select(read_parquet(Workspace(config).predictions), "test")
    undecided = np.zeros_like(scored.truth)  # no figure that is compared depends on a threshold
    return results.Sample(scored.truth, scored.probabilities, undecided, scored.patients)


def _replicates(sample: results.Sample, config: Experiment) -> dict[str, tuple[Floats, Floats]]:
    """Of each figure, its value and its bootstrap replicates; the same draws of patients for every model."""
    value, drawn = results.replicate_statistics(sample, config.evaluate.bootstrap, bootstrap_rng(config, "test"))
    return {name: (_at(value, name), _at(drawn, name)) for name in _FIGURES}


def _at(statistics: dict[str, Floats], name: str) -> Floats:
    metric, column = _FIGURES[name]
    if not statistics:
        return np.empty(0)
    return statistics[metric] if column is None else statistics[metric][:, column]


def _estimate(value: Floats, drawn: Floats) -> Estimate:
    if np.isnan(value[0]):
        return Estimate(float("nan"), reason="a label has one class only")
    return Estimate(float(value[0]), *percentile_interval(drawn))


def _cost(config: Experiment) -> dict[str, Any]:
    workspace = Workspace(config)
    run = next(run for run in runs_of(workspace) if run["name"] == config.name)
    return {
        "model": config.train.model, "run": config.name,
        "parameters": read_card(workspace.final_model).training.get("parameters"),
        "seconds": run["seconds"],
        "stages": [{name: stage[name] for name in ("stage", "epochs", "images_per_s")} for stage in run["stages"]],
    }  # fmt: skip


def _path(config: Experiment, ending: str) -> Path:
    return Workspace(config).run.parent / f"{config.name}-comparison.{ending}"
