"""What `fit` works on: the network behind the augmentation, and the batches that feed it."""

from collections.abc import Callable, Generator, Iterator
from itertools import count
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ich.augmentation import Draws, apply, draw, item_keys
from ich.config import TrainingAugmentation
from ich.data import Manifest, image_batches, pad_batch, prefetch, read_batch

Batch = tuple[tuple[NDArray[np.uint8], Draws], NDArray[np.float32]]


class Learner(keras.Model):
    """A network that sees augmented images while it learns; it shares the network's weights and is thrown away."""

    def __init__(self, network: keras.Model, augmentation: TrainingAugmentation) -> None:
        # Without autocast: half-precision policies would round the draws, and angles and shifts with them.
        super().__init__(autocast=False, name=f"{network.name}_learner")
        self.network, self.augmentation = network, augmentation

    def call(self, inputs: tuple[Any, Draws], training: bool = False) -> Any:
        """Images (n, size, size, 3) uint8 and their draws to the network's probabilities."""
        images, draws = inputs
        return self.network(apply(images, draws, self.augmentation) if training else images, training=training)


def training_batches(
    slices: Manifest,
    targets: NDArray[np.integer],
    size: int,
    batch_size: int,
    augmentation: TrainingAugmentation,
    seed: int,
    first_epoch: int,
) -> Generator[Batch]:
    """Endless batches, epoch after epoch, for a `Learner`.

    The order of an epoch is drawn from (seed, epoch), the augmentation from (seed, epoch, ImageID). What does not fill
    a batch at the end of an epoch is left out: another draw leaves out others.

    Args:
        slices: n slices.
        targets: (n, k) 0 or 1.
        size: rows and columns of the images.
        batch_size: at most n.
        augmentation: what to draw.
        seed: of the experiment.
        first_epoch: counted from 0 over all phases of a stage.
    """
    keys = item_keys(slices.ids)
    labels = targets.astype(np.float32)

    def jobs() -> Iterator[tuple[int, NDArray[np.intp]]]:
        for epoch in count(first_epoch):
            order = epoch_order(len(slices), seed, epoch)
            for step in range(len(slices) // batch_size):
                yield epoch, order[step * batch_size : (step + 1) * batch_size]

    def load(job: tuple[int, NDArray[np.intp]]) -> Batch:
        epoch, rows = job
        images = read_batch([slices.paths[i] for i in rows], size)
        return (images, draw(augmentation, seed, epoch, keys[rows])), labels[rows]

    return prefetch(load, jobs())


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """A permutation of n rows that depends on seed and epoch only."""
    return np.random.default_rng((seed, epoch)).permutation(n)


def predict(
    network: keras.Model, slices: Manifest, size: int, batch_size: int, done: Callable[[int], object] = int
) -> NDArray[np.float32]:
    """Outputs (n, k) of a network for n slices in order, each exactly once, in batches of one shape.

    `done` is called with the number of slices that have just been read, e.g. to advance a progress bar.
    """

    def padded() -> Iterator[tuple[NDArray[np.uint8]]]:
        for images in image_batches(slices.paths, size, batch_size):
            done(len(images))
            yield (pad_batch(images, batch_size),)

    outputs: NDArray[np.float32] = network.predict(padded(), steps=-(-len(slices) // batch_size), verbose=0)
    return outputs[: len(slices)]
