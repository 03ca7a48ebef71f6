"""DICOM files to the images that a network sees, series by series in order, few of them in memory at a time.

Two passes: the first reads the headers of all files and orders each series; the second reads the pixels in that order,
so that a slice's neighbours are at hand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.card import Card
from ich.dicom.header import SliceHeader
from ich.dicom.read import read_header, read_slice
from ich.dicom.series import order_series
from ich.errors import UnreadableSlice
from ich.windows import rgb_from_hu


class SliceImage(NamedTuple):
    """A slice as the network sees it.

    Attributes:
        number: of its file, among those given.
        header: of the file.
        repairs: of its pixels, by name.
        image: (size, size, 3) uint8.
    """

    number: int
    header: SliceHeader
    repairs: tuple[str, ...]
    image: NDArray[np.uint8]


def read_headers(
    paths: Sequence[Path], done: Callable[[int], object] = int
) -> tuple[dict[int, SliceHeader], dict[int, str]]:
    """Headers of files by number, and why the other files have none. `done` is called with 1 after each file."""
    headers, unreadable = {}, {}
    for number, path in enumerate(paths):
        try:
            if path.exists() and not path.is_file():
                raise UnreadableSlice("not a regular file")
            headers[number] = read_header(path)
        except UnreadableSlice as error:
            unreadable[number] = str(error)
        done(1)
    return headers, unreadable


def slice_images(
    paths: Sequence[Path],
    headers: Mapping[int, SliceHeader],
    card: Card,
    unreadable: dict[int, str],
    done: Callable[[int], object] = int,
) -> Iterator[SliceImage]:
    """The image of every slice, made as training's were: its windows, or one window of it and its neighbours.

    A file whose header can be read but whose pixels cannot gives no image: the next slice along the series that gives
    one is the neighbour of those beside it, as in training, or, at the end of the series, they are their own.

    Args:
        paths: all files.
        headers: from `read_headers`.
        card: of the model: windows, size, aspect, input.
        unreadable: is added to: number -> why a file gave no image.
        done: called with 1 after each file.
    """

    def read(numbers: list[int]) -> Iterator[SliceImage]:
        for number in numbers:
            try:
                ct = read_slice(paths[number])
                image = rgb_from_hu(ct.hu, card.windows, card.size, card.aspect)
                yield SliceImage(number, ct.header, ct.hounsfield.repairs, image)
            except UnreadableSlice as error:
                unreadable[number] = str(error)
            done(1)

    for line in lines(headers):
        yield from read(line) if card.input == "windows" else beside_each_other(read(line), card.neighbours_window)


def lines(headers: Mapping[int, SliceHeader]) -> Iterator[list[int]]:
    """Numbers of the slices that lie along one line, in order: those of a series that have a place in it.

    A slice without a place along its series, or without a series, is a line by itself.
    """
    members: dict[str | None, list[int]] = {}
    for number, header in headers.items():
        members.setdefault(header.series, []).append(number)
    for series, numbers in members.items():
        order = order_series([headers[number] for number in numbers])
        located = np.count_nonzero(np.isfinite(order.positions_mm)) if series is not None else 0
        ordered = [numbers[index] for index in order.order]  # those without a place come last
        if located:
            yield ordered[:located]
        yield from ([number] for number in ordered[located:])


def beside_each_other(line: Iterator[SliceImage], window: int) -> Iterator[SliceImage]:
    """Slices along a line, each with three channels: one window of the slice before, of itself, of the slice after."""
    current = before = next(line, None)
    while before is not None and current is not None:
        after = next(line, None)
        three = (before, current, after or current)
        yield current._replace(image=np.stack([each.image[..., window] for each in three], axis=-1))
        before, current = current, after
