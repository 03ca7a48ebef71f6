"""Reliability diagrams: what was predicted against what was found, with how many slices lie where."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ich.evaluation.figures.drawing import ACCENT, INK, MUTED, RULE, new_figure, quiet
from ich.evaluation.statistics.sample import Sample
from ich.labels import LABELS
from ich.level_names import NOUNS

Bins = Mapping[str, Sequence[Mapping[str, Any]]]
_BARS = 24  # of the counts


def reliability_figure(after: Bins, before: Bins | None, sample: Sample) -> Figure:
    """A panel a label, each with a scale of its own; under it, how many slices have which probability.

    Args:
        after: of each label, the bins of the probabilities that are reported (`probability_metrics.reliability`).
        before: the same before calibration; None where nothing was calibrated.
        sample: whose probabilities are counted.
    """
    figure = new_figure(9.6, 8.2)
    grid = figure.add_gridspec(4, 3, height_ratios=(3.2, 1, 3.2, 1))
    for position, label in enumerate(LABELS):
        row, column = divmod(position, 3)
        above = figure.add_subplot(grid[2 * row, column])
        top = _highest(after[label], before[label] if before else ())
        _diagram(above, after[label], before[label] if before else (), top)
        above.set_title(label)
        quiet(above)
        _counts(figure.add_subplot(grid[2 * row + 1, column], sharex=above), sample, position, top)
    if before:  # over the panels, where it hides no line
        named = figure.axes[0].get_legend_handles_labels()
        figure.legend(*named, frameon=False, fontsize=8, labelcolor=INK, loc="outside upper left", ncols=2)
    return figure


def _highest(*several: Sequence[Mapping[str, Any]]) -> float:
    values = [each[name] for bins in several for each in bins for name in ("mean_probability", "observed")]
    return min(1.0, 1.08 * max(values, default=1.0)) or 1.0


def _diagram(axes: Axes, after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], top: float) -> None:
    axes.plot([0, top], [0, top], color=RULE, linewidth=0.8, zorder=0)
    for bins, colour, size, name in ((before, MUTED, 3.0, "before"), (after, ACCENT, 4.5, "after")):
        if not bins:
            continue
        x, y = [each["mean_probability"] for each in bins], [each["observed"] for each in bins]
        axes.plot(
            x, y, color=colour, linewidth=1.1, marker="o", markersize=size, label=f"{name} calibration", clip_on=False
        )
    axes.set(xlim=(0, top), ylim=(0, top), ylabel="share that is positive")


def _counts(axes: Axes, sample: Sample, position: int, top: float) -> None:
    edges = np.linspace(0, top, _BARS + 1)
    probabilities, positive = sample.probabilities[:, position], sample.truth[:, position]
    for rows, colour in ((np.ones_like(positive), RULE), (positive, ACCENT)):
        heights = np.histogram(np.clip(probabilities[rows], 0, top), edges)[0]
        axes.stairs(heights, edges, fill=True, color=colour)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(ylim=(0, None), xlabel="predicted probability", ylabel=NOUNS[sample.level])
    quiet(axes)
