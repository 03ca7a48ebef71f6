"""What training learns from: batches in a fixed order, decoded and put on the device ahead of the steps."""

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import count

import jax
import numpy as np
from numpy.typing import NDArray

from ich.augmentation import draw, item_keys
from ich.config import TrainingAugmentation
from ich.data import Manifest, prefetch
from ich.devices import own_share, shared_out
from ich.training.step import Batch

Chances = NDArray[np.float64] | None

# A slice that is drawn again in an epoch gets other numbers than before: its key is moved on by an odd constant.
_ANOTHER = np.uint64(0xD1342543DE82EF95)


def training_batches(
    slices: Manifest,
    targets: NDArray[np.integer],
    size: int,
    shape: tuple[int, int],
    augmentation: TrainingAugmentation,
    seed: int,
    first_epoch: int,
    chances: Chances = None,
) -> Generator[Batch]:
    """Endless batches, epoch after epoch.

    The order of an epoch is drawn from (seed, epoch), the augmentation from (seed, epoch, ImageID), and how often the
    slice came before in the epoch. What does not fill a batch at the end of an epoch is left out: another draw leaves
    out others.

    Of a process that trains together with others, a batch holds its own share of the n images (`ich.devices`).

    Args:
        slices: at least m n slices.
        targets: (slices, k) 0 or 1.
        size: rows and columns of the images.
        shape: (m, n) of `ich.training.step.Batch`.
        augmentation: what to draw.
        seed: of the experiment.
        first_epoch: counted from 0 over all phases of a stage.
        chances: as in `epoch_order`.
    """
    keys = item_keys(slices.ids)
    labels = targets.astype(np.float32)
    own = own_share(shape[1])

    def jobs() -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.uint64]]]:
        for epoch in count(first_epoch):
            order = epoch_rows(len(slices), shape, seed, epoch, chances)
            again = repetitions(order.ravel()).reshape(order.shape)
            for rows, times in zip(order, again, strict=True):
                rows, times = (each.reshape(shape)[:, own] for each in (rows, times))
                yield epoch, rows, keys[rows] + _ANOTHER * times

    def load(job: tuple[int, NDArray[np.intp], NDArray[np.uint64]]) -> Batch:
        epoch, rows, each = job
        images = slices.read(rows.ravel(), size)
        batch = Batch(images, draw(augmentation, seed, epoch, each.ravel()), labels[rows.ravel()])
        in_parts: Batch = jax.tree.map(lambda array: array.reshape(*rows.shape, *array.shape[1:]), batch)
        return in_parts

    return prefetch(load, jobs())


def on_device(batches: Generator[Batch]) -> Generator[Batch]:
    """The same batches, copied to the devices ahead, in a thread of its own."""
    with closing(batches), closing(prefetch(lambda batch: shared_out(batch, axis=1), batches, threads=1)) as copied:
        yield from copied


def epoch_rows(n: int, shape: tuple[int, int], seed: int, epoch: int, chances: Chances = None) -> NDArray[np.intp]:
    """Rows of each batch of an epoch: (batches, m n) of `epoch_order`."""
    at_once = shape[0] * shape[1]
    return epoch_order(n, seed, epoch, chances)[: n // at_once * at_once].reshape(-1, at_once)


def epoch_order(n: int, seed: int, epoch: int, chances: Chances = None) -> NDArray[np.intp]:
    """The n rows of an epoch, which depend on seed, epoch and chances only.

    Args:
        n: rows to draw from, and how many are drawn.
        seed: of the experiment.
        epoch: counted from 0 over all phases of a stage.
        chances: (n,) of each row in each draw, with replacement; None: a permutation.
    """
    generator = np.random.default_rng((seed, epoch))
    return generator.permutation(n) if chances is None else generator.choice(n, n, p=chances)


def repetitions(order: NDArray[np.intp]) -> NDArray[np.uint64]:
    """How often each of the rows (n,) came before in this order: [3, 1, 3, 3] -> [0, 0, 1, 2]."""
    by_row = np.argsort(order, kind="stable")
    first_of_row = np.searchsorted(order[by_row], order[by_row])
    times = np.empty(len(order), np.uint64)
    times[by_row] = np.arange(len(order)) - first_of_row
    return times
