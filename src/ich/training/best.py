"""The best weights of a stage, and saving networks."""

import errno
import math
import os
from pathlib import Path

import keras

from ich.files import atomic
from ich.training.checkpoint import Arrays


class Best:
    """Keeps the weights with the lowest validation loss, through all phases of a stage, and saves them at once.

    Attributes:
        loss: the lowest so far.
        weights: of the network then.
    """

    def __init__(self, network: keras.Model, path: Path | None) -> None:
        """Begin with the network as it is.

        Args:
            network: whose weights they are.
            path: of the .keras file; None: nothing is saved.
        """
        self.network, self.path = network, path
        self.loss, self.weights = math.inf, network.get_weights()

    def offer(self, loss: float) -> None:
        """Take the network's weights if their validation loss is lower than the lowest so far."""
        if loss < self.loss:
            self.loss, self.weights = loss, self.network.get_weights()
            self._save()

    def take_over(self, loss: float, weights: Arrays) -> None:
        """Go on with what a training that was cut off had found: the network has these weights then, and the file."""
        self.loss, self.weights = loss, weights
        self.restore()
        self._save()

    def restore(self) -> None:
        """Give the network the best weights."""
        self.network.set_weights(self.weights)

    def _save(self) -> None:
        if self.path is not None:
            save(self.network, self.path)


def save(network: keras.Model, path: Path) -> None:
    """Save a network so that the file is either whole or not there; the ending (.keras or .h5) chooses the format."""
    with atomic(path) as temporary:
        try:
            network.save(temporary)
        except RuntimeError as error:  # HDF5's, which names the system's error in its text only
            if f"errno = {errno.ENOSPC}" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
