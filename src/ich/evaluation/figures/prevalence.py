"""What a positive and a negative call are worth, against how common haemorrhage is where the model is used."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ich.evaluation.figures.drawing import ACCENT, INK, LABEL_COLOURS, MUTED, RULE, name_lines, new_figure, quiet
from ich.evaluation.statistics.prevalence import GRID

_COLOURS = (ACCENT, *list(LABEL_COLOURS.values())[1:])
Curve = Mapping[str, list[float | None]]


def prevalence_figure(curves: Mapping[str, Curve], here: float, local: float | None, noun: str) -> Figure:
    """PPV, NPV, alerts and misses per 100 against prevalence, a line an operating point; equal ones share a line.

    Args:
        curves: operating point, in words -> prevalence, ppv, npv, alerts and missed (per 100); lists of one length.
        here: prevalence of the test data.
        local: the prevalence that the config states (`evaluate.local_prevalence`).
        noun: what is counted, in the plural.
    """
    figure = new_figure(10.6, 6.2)
    grid = figure.add_gridspec(2, 2)
    lines = list(zip(_merged(curves).items(), _COLOURS, strict=False))
    titles = {"ppv": "PPV", "npv": "NPV", "alerts": f"alerts per 100 {noun}", "missed": f"missed per 100 {noun}"}
    for position, (key, name) in enumerate(titles.items()):
        axes = figure.add_subplot(grid[divmod(position, 2)])
        ends = []
        for (names, curve), colour in lines:
            known = [(x, y) for x, y in zip(curve["prevalence"], curve[key], strict=True) if y is not None]
            if known:
                axes.plot(*zip(*known, strict=True), color=colour, linewidth=1.4)
                ends.append((float(known[-1][1] or 0.0), names, colour))
        axes.set(xscale="log", title=name, xlabel="prevalence of any haemorrhage", xlim=(GRID[0], GRID[-1]))
        axes.set(ylim=(0, {"alerts": 100.0, "missed": None}.get(key, 1.02)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        _mark(axes, here, "test", MUTED)
        if local is not None:
            _mark(axes, local, "local", INK)
        quiet(axes)
        name_lines(axes, ends)
    return figure


def _merged(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Equal curves under one name, that of all of them."""
    merged: list[tuple[list[str], Curve]] = []
    for name, curve in curves.items():
        same = next((names for names, other in merged if other == curve), None)
        if same is None:
            merged.append(([name], curve))
        else:
            same.append(name)
    return {",\n".join(names): curve for names, curve in merged}


def _mark(axes: Axes, prevalence: float, name: str, colour: str) -> None:
    axes.axvline(prevalence, color=RULE if name == "test" else colour, linewidth=0.9, zorder=0)
    axes.text(prevalence, 0.02, f" {name}", transform=axes.get_xaxis_transform(), color=colour, fontsize=7, va="bottom")
