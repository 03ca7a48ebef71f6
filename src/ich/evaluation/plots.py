"""Figures of the report: confusion matrices, ROC and precision-recall curves, training curves.

Each is drawn twice, for a light and a dark page, on Figure objects: pyplot's global state stays untouched.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from ich.evaluation.results import Sample
from ich.labels import LABELS

DPI = 144
Flags = NDArray[np.bool_]
Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Theme:
    """Colours; the same as in page.css."""

    page: str
    ink: str
    muted: str
    rule: str
    accent: str


LIGHT = Theme(page="#ffffff", ink="#1b1f24", muted="#667080", rule="#d9dde3", accent="#1f5f8b")
DARK = Theme(page="#14171b", ink="#e4e7eb", muted="#98a2ae", rule="#323840", accent="#7db7e0")


class CurveKind(NamedTuple):
    """A family of curves: its points, its area's metric, and the metrics and names of its axes."""

    points: Callable[[Flags, Scores], tuple[Scores, Scores]]
    metric: str
    x_metric: str
    y_metric: str
    x_name: str
    y_name: str


class SplitStyle(NamedTuple):
    """How a split's curve is drawn; its text stands above the panel at `height`, a share of the panel's."""

    name: str
    height: float
    strong: bool


SPLIT_STYLES = {"val": SplitStyle("validation", 1.02, False), "test": SplitStyle("test", 1.08, True)}


class Pictures(NamedTuple):
    """One figure as PNG bytes, for a light and for a dark page."""

    light: bytes
    dark: bytes


def draw(
    content: Mapping[str, Any], samples: Mapping[str, Sample], history: pl.DataFrame | None
) -> dict[str, Pictures]:
    """The report's figures by file name (without .png): roc_curves, pr_curves, training_curves.

    Args:
        content: what metrics.json holds.
        samples: split -> what was evaluated; `test` and `val`.
        history: from `read_history`; None leaves the training curves out.
    """
    figures = {
        "roc_curves": partial(curves_figure, content, samples, ROC),
        "pr_curves": partial(curves_figure, content, samples, PRECISION_RECALL),
    }
    if history is not None:
        figures["training_curves"] = partial(training_figure, history)
    return {name: Pictures(_png(make(LIGHT)), _png(make(DARK))) for name, make in figures.items()}


def draw_confusion_matrices(counts: Mapping[str, Mapping[str, int]]) -> dict[str, bytes]:
    """PNG bytes of cm_<label> for each label, light; the report shows the same numbers as a table."""
    return {f"cm_{label}": _png(confusion_figure(label, counts[label], LIGHT)) for label in LABELS}


def confusion_figure(label: str, counts: Mapping[str, int], theme: Theme) -> Figure:
    """Two by two counts of one label, each with its share of the row; the shade is that share."""
    cells = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    rows = np.maximum(cells.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(2.9, 2.7), dpi=DPI, facecolor=theme.page, layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor(theme.page)
    for (row, column), count in np.ndenumerate(cells):
        share = count / rows[row, 0]
        axes.fill_between([column, column + 1], 1 - row, 2 - row, color=theme.accent, alpha=0.75 * share, linewidth=0)
        axes.text(column + 0.5, 1.54 - row, f"{count:,}", ha="center", va="bottom", color=theme.ink, fontsize=11)
        axes.text(column + 0.5, 1.46 - row, f"{share:.1%}", ha="center", va="top", color=theme.ink, fontsize=8)
    axes.set(xlim=(0, 2), ylim=(0, 2), aspect="equal", xlabel="called", ylabel="true", title=label)
    axes.set_xticks([0.5, 1.5], ["negative", "positive"])
    axes.set_yticks([1.5, 0.5], ["negative", "positive"], rotation=90, va="center")
    _quiet(axes, theme)
    axes.tick_params(length=0)
    return figure


def training_figure(history: pl.DataFrame, theme: Theme) -> Figure:
    """Training and validation loss over the epochs, a panel a stage; thin lines part the phases."""
    stages = history.partition_by("stage", maintain_order=True)
    figure = Figure(figsize=(3.4 * max(len(stages), 2), 2.9), dpi=DPI, facecolor=theme.page, layout="constrained")
    for position, rows in enumerate(stages):
        axes = figure.add_subplot(1, max(len(stages), 2), position + 1)
        epochs = np.arange(1, len(rows) + 1)
        axes.plot(epochs, rows["loss"], color=theme.muted, linewidth=1.2, marker=".", markersize=4, label="training")
        axes.plot(
            epochs, rows["val_loss"], color=theme.accent, linewidth=1.6, marker=".", markersize=4, label="validation"
        )
        phases = rows["phase"].to_numpy()
        for change in np.flatnonzero(phases[1:] != phases[:-1]) + 1.5:
            axes.axvline(change, color=theme.rule, linewidth=0.8)
        axes.set(title=str(rows["stage"][0]), xlabel="epoch", ylabel="loss" if not position else "")
        axes.set_xlim(0.5, len(rows) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.ink)
        _quiet(axes, theme)
    return figure


def read_history(path: Path) -> pl.DataFrame | None:
    """history.csv with the columns stage, phase, loss, val_loss; None where there is none or it holds no losses."""
    if not path.is_file():
        return None
    try:
        history = pl.read_csv(path, infer_schema_length=None, glob=False)
    except pl.exceptions.PolarsError:
        return None  # cut off or empty: the report does without
    if history.is_empty() or not {"loss", "val_loss"} <= set(history.columns):
        return None
    absent = [pl.lit("").alias(name) for name in ("stage", "phase") if name not in history.columns]
    return history.with_columns(absent).with_columns(pl.col("stage", "phase").cast(pl.String).fill_null(""))


def _roc(truth: Flags, scores: Scores) -> tuple[Scores, Scores]:
    false_positive_rate, sensitivity, _ = roc_curve(truth, scores)
    return false_positive_rate, sensitivity


def _precision_recall(truth: Flags, scores: Scores) -> tuple[Scores, Scores]:
    ppv, sensitivity, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
    return sensitivity, ppv


ROC = CurveKind(_roc, "auroc", "specificity", "sensitivity", "1 − specificity", "sensitivity")
PRECISION_RECALL = CurveKind(_precision_recall, "average_precision", "sensitivity", "ppv", "sensitivity", "PPV")


def curves_figure(content: Mapping[str, Any], samples: Mapping[str, Sample], kind: CurveKind, theme: Theme) -> Figure:
    """Six panels, one a label: validation thin and grey under test, and a ring at the threshold's operating point."""
    figure = Figure(figsize=(9.6, 7.2), dpi=DPI, facecolor=theme.page, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr, call-arg]  # constrained has them
    for position, label in enumerate(LABELS):
        axes = figure.add_subplot(2, 3, position + 1)
        for split, sample in samples.items():
            _curve(axes, kind, content["splits"][split], sample, position, SPLIT_STYLES[split], theme)
        if kind is ROC:
            axes.plot([0, 1], [0, 1], color=theme.rule, linewidth=0.8, zorder=0)
        else:  # what a detector without any skill reaches
            axes.axhline(samples["test"].truth[:, position].mean(), color=theme.rule, linewidth=0.8, zorder=0)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=label)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        if position >= 3:
            axes.set_xlabel(kind.x_name)
        if position % 3 == 0:
            axes.set_ylabel(kind.y_name)
        _quiet(axes, theme, title_pad=31)
    return figure


def _curve(
    axes: Axes,
    kind: CurveKind,
    split: Mapping[str, Any],
    sample: Sample,
    position: int,
    style: SplitStyle,
    theme: Theme,
) -> None:
    """One split's curve, its figure in words, and its operating point; a note where there is no curve."""
    colour = theme.accent if style.strong else theme.muted
    figures = split["levels"]["slice"][LABELS[position]]
    area = figures[kind.metric]
    text = f"{style.name} {area['value']:.3f}" if area["value"] is not None else f"{style.name}: {area['reason']}"
    if area["low"] is not None:
        text += f" ({area['low']:.3f}–{area['high']:.3f})"
    axes.text(0, style.height, text, transform=axes.transAxes, va="bottom", color=colour, fontsize=7.5)
    if area["value"] is None:
        return
    x, y = kind.points(sample.truth[:, position], sample.probabilities[:, position])
    axes.plot(x, y, color=colour, linewidth=1.7 if style.strong else 1.0, zorder=3 if style.strong else 2)
    x_point, y_point = figures[kind.x_metric]["value"], figures[kind.y_metric]["value"]
    if style.strong and x_point is not None and y_point is not None:
        x_point = 1 - x_point if kind is ROC else x_point
        axes.plot(x_point, y_point, "o", markersize=6, markerfacecolor=theme.page, markeredgecolor=colour, zorder=5)


def _quiet(axes: Axes, theme: Theme, title_pad: float = 6) -> None:
    """Thin rules, small grey numbers, titles at the left."""
    axes.set_facecolor(theme.page)
    title = axes.get_title()
    axes.set_title("")
    axes.set_title(title, loc="left", fontsize=10, color=theme.ink, pad=title_pad)
    axes.tick_params(colors=theme.muted, labelsize=8, width=0.6, length=3)
    axes.xaxis.label.set(color=theme.muted, fontsize=8)
    axes.yaxis.label.set(color=theme.muted, fontsize=8)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=theme.rule, linewidth=0.8)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # the same bytes from every matplotlib
    return buffer.getvalue()
