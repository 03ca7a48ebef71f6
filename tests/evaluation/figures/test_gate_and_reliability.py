"""What must not touch or be cut in two figures."""

import numpy as np
from matplotlib.text import Text

from ich.evaluation.figures.gate import gate_figure
from ich.evaluation.figures.reliability import reliability_figure
from ich.evaluation.findings import reliability
from ich.evaluation.gating import curve
from ich.evaluation.statistics.sample import Sample


def made_up(level):
    rng = np.random.default_rng(0)
    truth = rng.random((300, 6)) < 0.3
    truth[:, 0] = truth[:, 1:].any(axis=1)
    p = np.clip(truth * 0.6 + rng.random(truth.shape) * 0.5, 0, 0.99)  # no slice reaches stage 2 at a threshold of 1
    return Sample(truth, p, p > 0.5, np.arange(300).astype(str), level)


def test_names_beside_the_gates_curves_stand_above_the_axis():
    sample = made_up("slice")
    figure = gate_figure(curve(sample.truth, sample.probabilities[:, 0].astype(np.float32), 0.2))
    figure.canvas.draw()
    saved = figure.axes[0]
    name = next(each for each in saved.findobj(Text) if each.get_text().startswith("slices"))
    assert name.get_window_extent().y0 > saved.get_window_extent().y0


def test_reliability_has_one_legend_over_its_panels_and_cuts_no_point():
    sample = made_up("study")
    figure = reliability_figure(reliability(sample), reliability(sample), sample)
    assert len(figure.legends) == 1
    assert not any(axes.get_legend() for axes in figure.axes)
    assert {axes.get_ylabel() for axes in figure.axes} == {"share that is positive", "studies"}
    points = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
    assert len(points) == 12
    assert not any(line.get_clip_on() for line in points)
    assert not reliability_figure(reliability(sample), None, sample).legends
