"""What the report's figures share: colours, quiet axes, and how a figure becomes PNG and SVG.

Figures are drawn on Figure objects: pyplot's global state stays untouched. The page holds the SVG, with each colour
replaced by the variable of page.css that has its value there, so that one figure fits a light and a dark page.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ich.files import write_bytes, write_text
from ich.labels import LABELS

DPI = 144
PAGE, INK, MUTED, RULE, ACCENT = "#ffffff", "#1b1f24", "#667080", "#d9dde3", "#1f5f8b"
# One colour a label, told apart by people who see fewer colours too; the lines are named where they end.
LABEL_COLOURS: Mapping[str, str] = MappingProxyType(
    dict(zip(LABELS, ("#1f5f8c", "#a3480f", "#137a63", "#7b4fa3", "#8a7000", "#b03060"), strict=True))
)
_VARIABLES = {PAGE: "page", INK: "ink", MUTED: "muted", RULE: "rule", ACCENT: "accent"} | {
    colour: label for label, colour in LABEL_COLOURS.items()
}


class Picture(NamedTuple):
    """One figure: PNG bytes, and the text of an SVG file."""

    png: bytes
    svg: str

    def write(self, path: Path) -> list[Path]:
        """Write both, under a path without ending."""
        files = [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")]
        write_bytes(files[0], self.png)
        write_text(files[1], self.svg)
        return files


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, whose panels are laid out not to touch."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAGE, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]  # constrained has them
    return figure


def panels(height: float = 3.3) -> tuple[Figure, list[Axes]]:
    """Six panels, one a label, in two rows of three; `height` of a row in inches."""
    figure = new_figure(9.6, 2 * height)
    return figure, [figure.add_subplot(2, 3, position + 1) for position in range(len(LABELS))]


def quiet(axes: Axes, title_pad: float = 6) -> None:
    """Thin rules, small grey numbers, titles at the left."""
    axes.set_facecolor(PAGE)
    title = axes.get_title()
    axes.set_title("")
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=title_pad)
    axes.tick_params(colors=MUTED, labelsize=8, width=0.6, length=3)
    axes.xaxis.label.set(color=MUTED, fontsize=8)
    axes.yaxis.label.set(color=MUTED, fontsize=8)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=RULE, linewidth=0.8)


def name_lines(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write names beside the right end of lines, at their heights or as close as they can be without touching.

    Args:
        axes: whose y axis is not changed any more.
        ends: height (in data), name and colour of each line.
    """
    low, high = axes.get_ylim()
    line = 0.062 * (high - low)
    ordered = sorted(ends)
    heights: list[float] = []
    for (height, name, _), (_, under, _) in zip(ordered, [(0.0, "", ""), *ordered], strict=False):
        apart = line * (2 + name.count("\n") + under.count("\n")) / 2
        heights.append(max(height, heights[-1] + apart) if heights else height)
    excess = max(0.0, heights[-1] - high) if heights else 0.0
    for height, (_, name, colour) in zip(heights, ordered, strict=True):
        axes.annotate(
            name, (1.01, height - excess), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=7.5,
            annotation_clip=False,
        )  # fmt: skip


def picture(figure: Figure, name: str) -> Picture:
    """The figure as PNG and SVG; the same bytes each time. `name` keeps the ids of one page's figures apart."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.draw_without_rendering()  # lays it out, once and not for each file
    figure.set_layout_engine("none")
    figure.savefig(png, format="png", metadata={"Software": None})
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(png.getvalue(), svg.getvalue())


def inline(svg: str, name: str, description: str) -> str:
    """An SVG as part of a page: in the page's colours, with its ids made its own, told to who cannot see it."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    size = re.search(r'<svg[^>]*?width="([\d.]+)pt"', body)
    width = float(size[1]) if size else 0.0
    head = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", body[: body.index(">")])
    head += f' style="max-width: {width:.0f}pt" role="img" aria-label="{description}"'
    return head + body[body.index(">") :]
