"""ROC and precision-recall curves of the six labels, validation under test."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from ich.evaluation.figures.drawing import ACCENT, MUTED, PAGE, RULE, panels, quiet
from ich.evaluation.statistics.sample import Sample
from ich.labels import LABELS

Flags = NDArray[np.bool_]
Scores = NDArray[np.floating]

_POINTS = 400  # of a curve that is drawn, at most: of 120,000 slices it has thousands, and no eye sees more


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


SPLIT_STYLES = {"val": SplitStyle("validation", 1.02, False), "test": SplitStyle("test", 1.09, True)}


def _roc(truth: Flags, scores: Scores) -> tuple[Scores, Scores]:
    false_positive_rate, sensitivity, _ = roc_curve(truth, scores)
    return false_positive_rate, sensitivity


def _precision_recall(truth: Flags, scores: Scores) -> tuple[Scores, Scores]:
    """The steps that average precision adds up, from sensitivity 1 down to 0.

    Without points of sensitivity 0, where nothing is called or only negatives are: they would draw a vertical line.
    """
    ppv, sensitivity, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
    finds = sensitivity > 0
    return np.append(sensitivity[finds], 0), np.append(ppv[finds], ppv[finds][-1])


ROC = CurveKind(_roc, "auroc", "specificity", "sensitivity", "1 − specificity", "sensitivity")
PRECISION_RECALL = CurveKind(_precision_recall, "average_precision", "sensitivity", "ppv", "sensitivity", "PPV")


def curves_figure(splits: Mapping[str, Any], samples: Mapping[str, Sample], kind: CurveKind) -> Figure:
    """Six panels, one a label: validation thin and grey under test, and a ring at the threshold's operating point.

    Args:
        splits: `splits` of metrics.json.
        samples: split -> what was evaluated by slice (or by study); `test`, and `val` where there is one.
        kind: ROC or PRECISION_RECALL.
    """
    figure, axes_of = panels(3.6)
    for position, (label, axes) in enumerate(zip(LABELS, axes_of, strict=True)):
        for split, sample in samples.items():
            figures = splits[split]["levels"][sample.level]["figures"][label]
            _curve(axes, kind, figures, sample, position, SPLIT_STYLES[split])
        if kind is ROC:
            axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, zorder=0)
        else:  # what a detector without any skill reaches
            axes.axhline(samples["test"].truth[:, position].mean(), color=RULE, linewidth=0.8, zorder=0)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=label)
        axes.set(xlabel=kind.x_name, ylabel=kind.y_name)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        quiet(axes, title_pad=32)
    return figure


def _curve(
    axes: Axes, kind: CurveKind, figures: Mapping[str, Any], sample: Sample, position: int, style: SplitStyle
) -> None:
    """One split's curve, its figure in words, and its operating point; a note where there is no curve."""
    colour = ACCENT if style.strong else MUTED
    area = figures[kind.metric]
    text = f"{style.name} {area['value']:.3f}" if area["value"] is not None else f"{style.name}: {area['reason']}"
    if area["low"] is not None:
        text += f" ({area['low']:.3f}–{area['high']:.3f})"
    axes.text(0, style.height, text, transform=axes.transAxes, va="bottom", color=colour, fontsize=7.5)
    if area["value"] is None:
        return
    x, y = _thinned(*kind.points(sample.truth[:, position], sample.probabilities[:, position]))
    width, order = (1.7, 3) if style.strong else (1.0, 2)
    steps = "default" if kind is ROC else "steps-post"
    axes.plot(x, y, color=colour, linewidth=width, zorder=order, drawstyle=steps)
    x_point, y_point = figures[kind.x_metric]["value"], figures[kind.y_metric]["value"]
    if style.strong and x_point is not None and y_point is not None:
        x_point = 1 - x_point if kind is ROC else x_point
        axes.plot(x_point, y_point, "o", markersize=6, markerfacecolor=PAGE, markeredgecolor=colour, zorder=5)


def _thinned(x: Scores, y: Scores) -> tuple[Scores, Scores]:
    """At most `_POINTS` of the points, evenly along the curve's length; both ends stay."""
    if len(x) <= _POINTS:
        return x, y
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], _POINTS)).clip(0, len(x) - 1))
    return x[kept], y[kept]
