"""The gate's threshold against what it saves and what it misses."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ich.evaluation.figures.drawing import ACCENT, LABEL_COLOURS, MUTED, RULE, name_lines, new_figure, quiet
from ich.labels import SUBTYPES

_LEAST = 1e-4  # where the scale of thresholds begins
_ABOVE_AXIS = 0.08  # the least height of a name of two lines: its lower one would touch the numbers of the axis


def gate_figure(curve: Sequence[Mapping[str, Any]]) -> Figure:
    """Two panels over the threshold: computing, and positives of each subtype that never reach stage 2.

    Args:
        curve: rows of `ich.evaluation.gating.curve`.
    """
    figure = new_figure(9.6, 3.4)
    saved, missed = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    _line(saved, curve, [row["share_in"] for row in curve], MUTED)
    ends = [(max(curve[-1]["share_in"] or 0.0, _ABOVE_AXIS), "slices that\nreach stage 2", MUTED)]
    if curve[-1]["saved"] is not None:
        _line(saved, curve, [row["saved"] for row in curve], ACCENT)
        ends.append((curve[-1]["saved"], "operations\nsaved", ACCENT))
    named = []
    for subtype in SUBTYPES:
        shares = [row["missed"][subtype]["share"] for row in curve]
        if shares[-1] is not None:
            _line(missed, curve, shares, LABEL_COLOURS[subtype])
            named.append((shares[-2] or 0.0, subtype, LABEL_COLOURS[subtype]))
    for axes, title, lines in ((saved, "what the gate saves", ends), (missed, "positives that it keeps away", named)):
        axes.set(xscale="log", xlim=(_LEAST, 1), ylim=(-0.02, 1.02), title=title, xlabel="gate's threshold on P(any)")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        for row in curve:
            if row["chosen"]:
                axes.axvline(max(row["threshold"], _LEAST), color=RULE, linewidth=1.2, zorder=0)
        quiet(axes)
        name_lines(axes, lines)
    return figure


def _line(axes: Axes, curve: Sequence[Mapping[str, Any]], values: Sequence[float | None], colour: str) -> None:
    known = [(max(row["threshold"], _LEAST), y) for row, y in zip(curve, values, strict=True) if y is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color=colour, linewidth=1.4)
