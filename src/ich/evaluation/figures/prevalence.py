"""What a positive and a negative call are worth, against how common haemorrhage is where the model is used."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ich.evaluation.figures.drawing import ACCENT, INK, LABEL_COLOURS, MUTED, RULE, name_lines, new_figure, quiet
from ich.evaluation.statistics.prevalence import GRID

_COLOURS = (ACCENT, *list(LABEL_COLOURS.values())[1:])


def prevalence_figure(curves: Mapping[str, Mapping[str, Any]], here: float, local: float | None, level: str) -> Figure:
    """PPV, NPV and alerts per 100 against prevalence, a line an operating point.

    Args:
        curves: operating point -> prevalence, ppv, npv, alerts (per 100); lists of one length.
        here: prevalence of the test data.
        local: the prevalence that the config states (`evaluate.local_prevalence`).
        level: what is counted, in the plural.
    """
    figure = new_figure(9.6, 3.4)
    names = (("ppv", "PPV"), ("npv", "NPV"), ("alerts", f"alerts per 100 {level}"))
    for position, (key, name) in enumerate(names):
        axes = figure.add_subplot(1, 3, position + 1)
        ends = []
        for (rule, curve), colour in zip(curves.items(), _COLOURS, strict=False):
            known = [(x, y) for x, y in zip(curve["prevalence"], curve[key], strict=True) if y is not None]
            if known:
                axes.plot(*zip(*known, strict=True), color=colour, linewidth=1.4)
                ends.append((known[-1][1], rule, colour))
        axes.set(xscale="log", title=name, xlabel="prevalence of any haemorrhage")
        axes.set(xlim=(GRID[0], GRID[-1]))
        axes.set(ylim=(0, 100) if key == "alerts" else (0, 1.02))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        _mark(axes, here, "test", MUTED)
        if local is not None:
            _mark(axes, local, "local", INK)
        quiet(axes)
        if position == len(names) - 1:
            name_lines(axes, ends)
    return figure


def _mark(axes: Axes, prevalence: float, name: str, colour: str) -> None:
    axes.axvline(prevalence, color=RULE if name == "test" else colour, linewidth=0.9, zorder=0)
    axes.text(prevalence, 0.02, f" {name}", transform=axes.get_xaxis_transform(), color=colour, fontsize=7, va="bottom")
