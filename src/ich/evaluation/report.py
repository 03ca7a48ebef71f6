"""report.html: one self-contained file, from what metrics.json holds, the figures and some test images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ich.config import Train
from ich.evaluation.plots import Pictures
from ich.evaluation.results import Sample
from ich.files import write_text
from ich.labels import LABELS
from ich.page import data_uri, environment, shrink
from ich.png import encode_png, read_png
from ich.workspace import Workspace

ENOUGH_PATIENTS = 20  # positive ones; a rule of thumb: percentile intervals of fewer cover clearly less than 95 %
IMAGE_SIDE = 256  # pixels, at most: 24 examples stay under 2 MB


def write(
    path: Path, content: Mapping[str, Any], test: Sample, figures: Mapping[str, Pictures], workspace: Workspace
) -> None:
    """Render the report.

    Args:
        path: report.html.
        content: what metrics.json holds.
        test: the test slices that `content["examples"]` point into.
        figures: from `plots.draw`.
        workspace: whose config is shown and whose test images are embedded.

    Raises:
        DataError: one of these images is missing or damaged.
    """
    page = _environment().get_template("report.html.jinja").render(
        **content,
        labels=LABELS,
        figures={name: {"light": data_uri(each.light), "dark": data_uri(each.dark)} for name, each in figures.items()},
        shown=[_example(example, content, test, workspace) for example in content["examples"]],
        config=yaml.safe_dump(workspace.config.model_dump(mode="json", by_alias=True), sort_keys=False),
        enough_patients=ENOUGH_PATIENTS,
        few_patients=_few_patients(content),
        given=bool(workspace.config.evaluate.models),
        green=workspace.config.preprocess.green,
        training_sees=_training_sees(workspace.config.train),
    )  # fmt: skip
    write_text(path, page)


def _training_sees(train: Train) -> str:
    """What makes the training loss another one than that of validation."""
    loss = train.loss
    has = {
        "augmented images": True,
        "mixed images and labels": train.augmentation.mixup > 0,
        "smoothed labels": loss.label_smoothing > 0,
        "class or label weights": loss.class_weights != "none" or bool(loss.label_weights),
    }
    drawn = "a balanced draw from" if train.sampling == "balanced" else "the"
    seen = ", ".join(what for what, is_so in has.items() if is_so)
    return f"{seen} and dropout, at the prevalence of {drawn} sampled training slices"


def _few_patients(content: Mapping[str, Any]) -> list[str]:
    positives = content["splits"]["test"]["positives"]
    return [label for label in LABELS if positives[label]["patients"] < ENOUGH_PATIENTS]


def _environment() -> jinja2.Environment:
    found = environment(Path(__file__).parent)
    found.filters |= {"figure": _figure, "interval": _interval}
    return found


def _example(
    example: Mapping[str, Any], content: Mapping[str, Any], test: Sample, workspace: Workspace
) -> dict[str, Any]:
    """One slice as the template shows it: the network's RGB image, its green channel, and six bars."""
    row, image_id = example["row"], example["image_id"]
    picture = shrink(read_png(workspace.images("test") / f"{image_id}.png"), IMAGE_SIDE)
    return {
        "image_id": image_id,
        "kind": example["kind"],
        "rgb": data_uri(encode_png(picture)),
        "green": data_uri(encode_png(picture[:, :, 1])),
        "bars": [
            {
                "label": label,
                "probability": float(test.probabilities[row, column]),
                "true": bool(test.truth[row, column]),
                "threshold": content["thresholds"][label]["value"],
            }
            for column, label in enumerate(LABELS)
        ],
    }


def _figure(estimate: Mapping[str, Any], digits: int = 3) -> str:
    """`0.953`, or an en dash where it is undefined."""
    return "–" if estimate["value"] is None else _decimal(estimate["value"], digits)


def _interval(estimate: Mapping[str, Any], digits: int = 3) -> str:
    """`0.921–0.974`; empty where there is none."""
    if estimate["low"] is None:
        return ""
    dash = "–" if estimate["low"] >= 0 else " to "
    return f"{_decimal(estimate['low'], digits)}{dash}{_decimal(estimate['high'], digits)}"


def _decimal(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".replace("-", "\N{MINUS SIGN}")
