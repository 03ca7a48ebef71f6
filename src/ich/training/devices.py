"""All devices of this machine train together: each has the whole state, and its share of the images of each step.

What a step computes does not change by that, but for rounding: batch normalisation sees the whole batch, and gradients
are those of the mean loss of all images. XLA puts in the exchange between the devices.
"""

from functools import cache
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ich.errors import ConfigError

Tree = TypeVar("Tree")


@cache
def count() -> int:
    """How many devices there are."""
    return int(jax.device_count())


def on_each(tree: Tree) -> Tree:
    """Arrays with all of their values on each device."""
    return jax.device_put(tree, everywhere()) if count() > 1 else tree


def shared_out(tree: Tree, axis: int) -> Tree:
    """Arrays on the devices, each device with its share along an axis, which must be a multiple of `count`."""
    if count() == 1:
        return jax.device_put(tree)
    return jax.device_put(tree, NamedSharding(_mesh(), PartitionSpec(*[None] * axis, "images")))


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


@cache
def _mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.devices()), ("images",))
