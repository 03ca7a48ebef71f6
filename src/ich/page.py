"""What our HTML pages share: their style (page.css), how templates are read, images as data URIs; no network."""

import base64
from pathlib import Path

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray


def environment(folder: Path) -> jinja2.Environment:
    """Templates of a folder, which can include `page.css`; what they are given is escaped, and must all be there."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["percent"] = percent
    return found


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """The bytes of an image file as a data URI."""
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")


def shrink(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An image (h, w, 3) of at most `side` x `side` pixels: larger ones are resized to that."""
    if max(image.shape[:2]) <= side:
        return image
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def percent(share: float) -> str:
    """A share of 1: `14.3%`; with two digits more next to 0 and 1: neither is written for what is not quite it."""
    close = 0 < share < 0.01 or 0.9995 <= share < 1
    return (f"{share:.2%}" if 0.0001 <= share <= 0.9999 else f"{share:.4%}") if close else f"{share:.1%}"
