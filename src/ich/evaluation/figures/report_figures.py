"""Every figure of a report, from what metrics.json holds and the samples behind it."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from ich.evaluation.figures.confusion import confusion_figure
from ich.evaluation.figures.curves import PRECISION_RECALL, ROC, curves_figure
from ich.evaluation.figures.drawing import Picture, picture
from ich.evaluation.figures.gate import gate_figure
from ich.evaluation.figures.prevalence import prevalence_figure
from ich.evaluation.figures.reliability import reliability_figure
from ich.evaluation.figures.training import training_figure
from ich.evaluation.statistics.sample import Sample
from ich.labels import LABELS
from ich.level_names import AIMS, NOUNS, Level

DESCRIPTIONS = {
    "roc_curves": "ROC curves of the six labels",
    "pr_curves": "Precision-recall curves of the six labels",
    "reliability": "Reliability diagrams of the six labels",
    "prevalence": "PPV, NPV and alerts against prevalence",
    "gate": "What the gate saves and misses against its threshold",
    "training_curves": "Training and validation loss by epoch",
}


def draw(
    content: Mapping[str, Any], samples: Mapping[str, Mapping[Level, Sample]], history: pl.DataFrame | None
) -> dict[str, Picture]:
    """Figures by file name, without ending. Confusion matrices (cm_<label>) are files only; the page has tables.

    Args:
        content: what metrics.json holds.
        samples: what was evaluated, by split and level.
        history: of the training (`read_history`); None leaves the training curves out.
    """
    first: Level = content["levels"][0]
    by_split = {split: of_levels[first] for split, of_levels in samples.items()}
    reliability = content["reliability"]
    drawn: dict[str, Figure] = {
        "roc_curves": curves_figure(content["splits"], by_split, ROC),
        "pr_curves": curves_figure(content["splits"], by_split, PRECISION_RECALL),
    }
    for level, bins in reliability["after"].items():
        if (
            level == "patient"
            and "series" in samples["test"]
            and len(samples["test"]["series"]) == len(samples["test"][level])
        ):
            continue  # each has one series: the same figure
        name = "reliability" if level == first else f"reliability_{level}"
        drawn[name] = reliability_figure(bins, reliability["before"].get(level), samples["test"][level])
    if found := content["prevalence"]:
        noun, curves = NOUNS[found["level"]], {AIMS[name]: each["curve"] for name, each in found["points"].items()}
        drawn["prevalence"] = prevalence_figure(curves, found["here"], found["local_prevalence"], noun)
    if content.get("gate") and content["gate"]["curve"]:
        drawn["gate"] = gate_figure(content["gate"]["curve"])
    if history is not None:
        drawn["training_curves"] = training_figure(history)
    counts = content["splits"]["test"]["levels"][first]["counts"]
    drawn |= {f"cm_{label}": confusion_figure(label, counts[label]) for label in LABELS}
    return {name: picture(figure, name) for name, figure in drawn.items()}
