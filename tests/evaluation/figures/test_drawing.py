"""Figures as files, and as parts of a page."""

import re
from itertools import pairwise
from xml.etree import ElementTree

from ich.evaluation.figures.drawing import ACCENT, INK, LABEL_COLOURS, inline, name_lines, new_figure, picture


def drawn(name):
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=ACCENT)
    axes.plot([0, 2], [0, 1], color=LABEL_COLOURS["epidural"])
    axes.set_title("a <title>", color=INK)
    return picture(figure, name)


def test_a_figure_is_the_same_each_time_and_inline_takes_the_colours_of_the_page():
    first, again = drawn("one"), drawn("one")
    assert first == again
    assert ElementTree.fromstring(first.svg.encode()).tag.endswith("svg")
    body = inline(first.svg, "one", "two lines")
    assert "var(--accent)" in body
    assert "var(--epidural)" in body
    assert ACCENT not in body
    assert 'role="img" aria-label="two lines"' in body
    assert "a &lt;title&gt;" in body


def test_ids_of_two_figures_of_a_page_differ_and_each_reference_is_met():
    bodies = [inline(drawn("one").svg, name, "") for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', body)) for body in bodies]
    assert not ids[0] & ids[1]
    for body, own in zip(bodies, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', body)) <= own


def test_names_beside_lines_do_not_touch():
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.set_ylim(0, 1)
    name_lines(axes, [(0.99, "a", INK), (1.0, "b", INK), (0.5, "c", INK)])
    heights = sorted(text.xy[1] for text in axes.texts)
    assert all(high - low >= 0.06 for low, high in pairwise(heights))
    assert heights[-1] <= 1.0 + 1e-9
