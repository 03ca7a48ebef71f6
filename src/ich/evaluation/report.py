"""A report: metrics.json, .csv and .parquet, figures as PNG and SVG, and report.html, one self-contained file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import yaml
from markupsafe import Markup

from ich.calibration import METHODS
from ich.config import Experiment, Train
from ich.evaluation import cards, findings, terminal, wording
from ich.evaluation.figures import report_figures
from ich.evaluation.figures.drawing import Picture, inline
from ich.evaluation.figures.report_figures import DESCRIPTIONS
from ich.evaluation.findings import Found
from ich.evaluation.statistics.sample import Sample
from ich.files import write_text
from ich.labels import LABELS
from ich.level_names import AIMS, NOUNS, Level, noun
from ich.page import environment

PAGE = "report.html"
ENOUGH_PATIENTS = 50  # positive ones: an AUROC's interval holds the truth in 91 % with 20, 92 % with 50 (simulated)


def write(
    folder: Path,
    content: Mapping[str, Any],
    found: Found,
    config: Experiment | None,
    images: Path | None,
    history: pl.DataFrame | None,
) -> list[Path]:
    """Write metrics, figures and the page.

    Args:
        folder: of the report.
        content: what metrics.json holds.
        found: what `content` is of.
        config: of the experiment, which is shown; None where there is none.
        images: folder of the test images that are shown; None where there are none.
        history: of the training (`ich.evaluation.figures.training.read_history`).

    Returns:
        All files.

    Raises:
        DataError: one of these images is missing or damaged.
    """
    figures = report_figures.draw(content, found.samples, history)
    written = findings.write_tables(folder, content, found)
    for name, picture in figures.items():
        written += picture.write(folder / name)
    write_text(folder / PAGE, _render(content, found.samples["test"][found.levels[0]], figures, images, config))
    return [*written, folder / PAGE]


def _render(
    content: Mapping[str, Any],
    test: Sample,
    figures: Mapping[str, Picture],
    images: Path | None,
    config: Experiment | None,
) -> str:
    return _environment().get_template("page/report.html.jinja").render(
        **content,
        labels=LABELS,
        nouns=NOUNS,
        noun=noun,
        aims=AIMS,
        told=_told(content),
        subgroup_rows=_subgroup_rows(content),
        shown_levels=_different_levels(content),
        methods=METHODS,
        figures={name: _inline(name, each) for name, each in figures.items() if not name.startswith("cm_")},
        shown=cards.examples(content, test, images) if images else [],
        error_groups=cards.mistakes(content, test, images),
        has_images=images is not None,
        config=yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False) if config else "",
        enough_patients=ENOUGH_PATIENTS,
        few_patients=_few_patients(content),
        chosen_on=wording.chosen_on(content, plateau=config is not None and config.train.schedule == "plateau"),
        windows=_windows(config) if config else [],
        training_sees=_training_sees(config.train) if config else "",
    )  # fmt: skip


def _told(content: Mapping[str, Any]) -> dict[str, Any]:
    """Sentences that depend on where thresholds are from, and the mean AUROC of the subtypes among positives."""
    return {
        "thresholds": wording.thresholds_told(content["thresholds"][content["levels"][0]]),
        "levels_differ": wording.levels_differ(content),
        "by_youden": wording.by_youden(content),
        "contradictions": wording.contradictions(content),
        "subtypes_apart": terminal.told_apart(content),
    }


def _subgroup_rows(content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Subgroups by what tells them apart, as the page shows them: without what repeats another row.

    A lone kind of repair is the same slices as `any repair`. A grouping with one group only stays in metrics.json.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for group in (content["subgroups"] or {"groups": []})["groups"]:
        found.setdefault(group["by"], []).append(group)
    if "repair" in found:
        kinds = [each for each in found["repair"] if each["name"] not in ("none", "any repair", "not known")]
        if len(kinds) == 1:
            found["repair"] = [each for each in found["repair"] if each["name"] != "any repair"]
    return found


def _different_levels(content: Mapping[str, Any]) -> list[Level]:
    """The levels, without patients where each has one series: these would be the same figures again."""
    of_test = content["splits"]["test"]["levels"]
    same = {"series", "patient"} <= of_test.keys() and of_test["patient"]["n"] == of_test["series"]["n"]
    return [level for level in content["levels"] if level != "patient" or not same]


def _inline(name: str, figure: Picture) -> Markup:
    kind = name.partition("_")[0] if name.startswith("reliability") else name
    return Markup(inline(figure.svg, name, DESCRIPTIONS[kind]))  # our own figure, of numbers


def _windows(config: Experiment) -> list[dict[str, Any]]:
    preprocess = config.preprocess
    named = zip(("red", "green", "blue"), (preprocess.red, preprocess.green, preprocess.blue), strict=True)
    return [{"name": name, "center": window.center, "width": window.width} for name, window in named]


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


def _few_patients(content: Mapping[str, Any]) -> dict[str, int]:
    positives = content["splits"]["test"]["levels"][content["levels"][0]]["positives"]
    counts = {label: positives[label]["patients"] for label in LABELS}
    return {label: count for label, count in counts.items() if count is not None and count < ENOUGH_PATIENTS}


def _environment() -> jinja2.Environment:
    found = environment(Path(__file__).parent)
    found.filters |= {
        "figure": _figure, "interval": _interval, "decimal": _known_decimal, "at_threshold": wording.at_threshold,
        "sections": _sections,
    }  # fmt: skip
    return found


def _sections(body: str) -> list[tuple[str, str]]:
    """Id and title of each section of a page, in order."""
    return re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>', body)


def _figure(estimate: Mapping[str, Any], digits: int = 3) -> str:
    """`0.953`, or an en dash where it is undefined."""
    return _known_decimal(estimate["value"], digits)


def _interval(estimate: Mapping[str, Any], digits: int = 3) -> str:
    """`0.921–0.974`; empty where there is none."""
    if estimate["low"] is None:
        return ""
    dash = "–" if estimate["low"] >= 0 else " to "
    return f"{_decimal(estimate['low'], digits)}{dash}{_decimal(estimate['high'], digits)}"


def _known_decimal(number: float | None, digits: int = 3) -> str:
    return "–" if number is None else _decimal(number, digits)


def _decimal(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.removeprefix("-")
