"""All devices train together, of this process and of others: each has the whole state, and its share of each batch.

What a step computes does not change by that, but for rounding: batch normalisation sees the whole batch, and gradients
are those of the mean loss of all images. XLA puts in the exchange between the devices. A process that has joined others
(`ich.training.processes`) loads only the images of its own devices.
"""

from functools import cache
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from ich.errors import ConfigError

Tree = TypeVar("Tree")


@cache
def count() -> int:
    """How many devices there are, of all processes."""
    return int(jax.device_count())


def is_first_process() -> bool:
    """Whether this process is the one that writes; of one process alone, it is."""
    return int(jax.process_index()) == 0


def of_first_process(number: float) -> float:
    """A number as process 0 has it: others may have computed it with another last digit."""
    if jax.process_count() == 1:
        return number
    own = np.frombuffer(np.float64(number).tobytes(), np.uint8)  # arrays of JAX's have no float64
    return float(np.frombuffer(np.asarray(multihost_utils.broadcast_one_to_all(own)).tobytes(), np.float64)[0])


def on_each(tree: Tree) -> Tree:
    """Arrays with all of their values on each device; every process must have the same values."""
    whole = everywhere()
    return tree if whole is None else jax.tree.map(lambda array: _spread(array, whole), tree)


def own_share(n: int) -> slice:
    """Which of n images, which `count` must divide, are for the devices of this process."""
    each, own = n // count(), [device.process_index == jax.process_index() for device in _devices()]
    return slice(own.index(True) * each, (len(own) - own[::-1].index(True)) * each)


def shared_out(tree: Tree, axis: int) -> Tree:
    """Arrays on the devices, each device with its share along an axis.

    Args:
        tree: of NumPy arrays with the `own_share` of this process along the axis.
        axis: of images.

    Returns:
        The same tree of arrays with the images of all processes.
    """
    if count() == 1:
        return jax.device_put(tree)
    sharding = NamedSharding(_mesh(), PartitionSpec(*[None] * axis, "images"))
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), tree)


@cache
def everywhere() -> NamedSharding | None:
    """Of results that each device is to have whole; None: there is one device only."""
    return NamedSharding(_mesh(), PartitionSpec()) if count() > 1 else None


def refuse_unequal_shares(batch_size: int) -> None:
    """Check that the devices can share a batch.

    Raises:
        ConfigError: they cannot, equally.
    """
    if batch_size % count():
        near = max(count(), batch_size // count() * count())
        raise ConfigError(
            f"train.batch_size is {batch_size}, which {count()} devices cannot share equally; set it to {near} or "
            f"{near + count()}, or hide devices (CUDA_VISIBLE_DEVICES=0)"
        )


def _spread(array: Any, whole: NamedSharding) -> jax.Array:
    if isinstance(array, jax.Array) and array.sharding == whole:
        return array
    return jax.make_array_from_process_local_data(whole, np.asarray(array))


@cache
def _devices() -> list[jax.Device]:
    """All of them, those of one process together."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


@cache
def _mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(_devices()), ("images",))
