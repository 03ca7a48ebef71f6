"""Confusion matrices as figures; the page shows the same numbers as tables."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ich.evaluation.figures.drawing import ACCENT, INK, PAGE, new_figure, quiet


def confusion_figure(label: str, counts: Mapping[str, int]) -> Figure:
    """Two by two counts of one label, each with its share of the row; the shade is that share."""
    cells = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    rows = np.maximum(cells.sum(axis=1, keepdims=True), 1)
    figure = new_figure(2.9, 2.7)
    axes = figure.add_subplot()
    axes.set_facecolor(PAGE)
    for (row, column), count in np.ndenumerate(cells):
        share = count / rows[row, 0]
        axes.fill_between([column, column + 1], 1 - row, 2 - row, color=ACCENT, alpha=0.75 * share, linewidth=0)
        axes.text(column + 0.5, 1.54 - row, f"{count:,}", ha="center", va="bottom", color=INK, fontsize=11)
        axes.text(column + 0.5, 1.46 - row, f"{share:.1%}", ha="center", va="top", color=INK, fontsize=8)
    axes.set(xlim=(0, 2), ylim=(0, 2), aspect="equal", xlabel="called", ylabel="true", title=label)
    axes.set_xticks([0.5, 1.5], ["negative", "positive"])
    axes.set_yticks([1.5, 0.5], ["negative", "positive"], rotation=90, va="center")
    quiet(axes)
    axes.tick_params(length=0)
    return figure
