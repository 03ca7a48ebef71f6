"""data_card.html: one self-contained file, from what data_card.json holds and some images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ich.files import write_text
from ich.labels import LABELS, SUBTYPES
from ich.page import data_uri, environment, shrink
from ich.png import encode_png
from ich.prepare.ledger import STATUSES

IMAGE_SIDE = 128  # pixels, at most: 80 images stay under 2 MB
MOST_REASONS, MOST_VALUES = 100, 12  # rows of a table; data_card.json has all


def write(path: Path, content: Mapping[str, Any], pictures: Mapping[str, NDArray[np.uint8]]) -> None:
    """Render the page.

    Args:
        path: data_card.html.
        content: what data_card.json holds.
        pictures: ImageID -> RGB image (h, w, 3) of all that `content["shown"]` names.
    """
    found = environment(Path(__file__).parent)
    found.filters |= {"figure": figure, "bars": bars}
    page = found.get_template("data_card.html.jinja").render(
        **{name: part for name, part in content.items() if name != "config"},
        names=LABELS,
        subtypes=SUBTYPES,
        statuses=STATUSES,
        images={image_id: data_uri(encode_png(shrink(image, IMAGE_SIDE))) for image_id, image in pictures.items()},
        settings=yaml.safe_dump(content["config"], sort_keys=False),
        most_reasons=MOST_REASONS,
        most_values=MOST_VALUES,
    )
    write_text(path, page)


def figure(value: float | None, digits: int = 3) -> str:
    """A number for people: thousands apart, at most `digits` decimals, a real minus sign; an en dash for none."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "\N{MINUS SIGN}")


def bars(counts: list[int], width: float = 96, height: float = 20) -> list[dict[str, float]]:
    """Rectangles of a histogram, in SVG's units (y grows downwards); a bin that holds anything can be seen."""
    step, most = width / len(counts), max(counts)
    tall = [max(height * count / most, 1.0) if count else 0.0 for count in counts]
    shapes = ((place * step, height - each, step * 0.85, each) for place, each in enumerate(tall))
    return [{"x": round(x, 2), "y": round(y, 2), "width": round(w, 2), "height": round(h, 2)} for x, y, w, h in shapes]
