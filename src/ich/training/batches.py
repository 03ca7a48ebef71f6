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
from ich.png import read_pngs
from ich.training.step import Batch


def training_batches(
    slices: Manifest,
    targets: NDArray[np.integer],
    size: int,
    shape: tuple[int, int],
    augmentation: TrainingAugmentation,
    seed: int,
    first_epoch: int,
) -> Generator[Batch]:
    """Endless batches, epoch after epoch.

    The order of an epoch is drawn from (seed, epoch), the augmentation from (seed, epoch, ImageID). What does not fill
    a batch at the end of an epoch is left out: another draw leaves out others.

    Args:
        slices: at least m n slices.
        targets: (slices, k) 0 or 1.
        size: rows and columns of the images.
        shape: (m, n) of `ich.training.step.Batch`.
        augmentation: what to draw.
        seed: of the experiment.
        first_epoch: counted from 0 over all phases of a stage.
    """
    keys = item_keys(slices.ids)
    labels = targets.astype(np.float32)

    def jobs() -> Iterator[tuple[int, NDArray[np.intp]]]:
        for epoch in count(first_epoch):
            for rows in epoch_rows(len(slices), shape, seed, epoch):
                yield epoch, rows

    def load(job: tuple[int, NDArray[np.intp]]) -> Batch:
        epoch, rows = job
        images = read_pngs([slices.paths[i] for i in rows], size)
        batch = Batch(images, draw(augmentation, seed, epoch, keys[rows]), labels[rows])
        in_parts: Batch = jax.tree.map(lambda array: array.reshape(*shape, *array.shape[1:]), batch)
        return in_parts

    return prefetch(load, jobs())


def on_device(batches: Generator[Batch]) -> Generator[Batch]:
    """The same batches, two of them copied to the device ahead, in a thread of its own."""
    with closing(batches), closing(prefetch(jax.device_put, batches, threads=1)) as copied:
        yield from copied


def epoch_rows(n: int, shape: tuple[int, int], seed: int, epoch: int) -> NDArray[np.intp]:
    """Rows of each batch of an epoch: (batches, m n) of a permutation that depends on seed and epoch only."""
    at_once = shape[0] * shape[1]
    return epoch_order(n, seed, epoch)[: n // at_once * at_once].reshape(-1, at_once)


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """A permutation of n rows that depends on seed and epoch only."""
    return np.random.default_rng((seed, epoch)).permutation(n)
