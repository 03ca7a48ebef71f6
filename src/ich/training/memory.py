"""How much of the device's memory a training step takes: an estimate from tracing it; nothing is computed or compiled.

A step holds weights, gradients and Adam's two moments, float32 each, and what the forward pass keeps for the backward
pass (`ich.training.kept`). Gradients and what is kept, against the temporaries of the programs that XLA compiled for
one H100 (256 px, batch 128, bfloat16, all layers trainable, `ich.models.fast_layers`):

    EfficientNetV2M   estimated 12.54 GiB, measured 12.31   (+1.8 %)
    ConvNeXtBase      estimated 18.35 GiB, measured 18.07   (+1.6 %)

On a CPU XLA takes more: 52 MiB where 35 are estimated, and 68 where 22 are, with `train.recompute`, which saves
nothing there (EfficientNetV2Demo, 128 px, batch 16, float32). Not measured on a GPU: `train.recompute`, float32, and
phases that train less.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import psutil

from ich.augmentation import draw, item_keys
from ich.config import Train
from ich.precision import computes_on_cpu
from ich.training.kept import Array, kept_for_backward
from ich.training.losses import binary_crossentropy
from ich.training.step import Batch, Learner

TOLERANCE = 0.1  # several times what the estimate was off by where it was measured
USABLE = 0.85  # share of the device's memory that an estimate may fill: the tolerance, and batches that wait

_OF_CPU = 1 / 3  # share of a CPU's free memory to count on, as XLA took up to three times the estimate there

_IMAGES = 1009  # a prime that is no size of any layer: an array whose size it divides belongs to the batch
_FLOAT32 = 4


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step.

    Attributes:
        weights: of all networks, trained now or not.
        learnt: gradients and both moments of what is trainable.
        kept: between the passes, whatever the batch: weights in half precision.
        per_image: between the passes, of each image; or, if that is more, what the largest layer reads and writes.
    """

    weights: int
    learnt: int
    kept: int
    per_image: int

    def at(self, batch_size: int) -> int:
        """Bytes of a step of so many images."""
        return self.weights + self.learnt + self.kept + batch_size * self.per_image


def estimate(network: keras.Model, whole: keras.Model, train: Train, size: int, recompute: bool) -> Memory:
    """Memory of a step.

    Args:
        network: what is trained; what of it is trainable has been chosen.
        whole: the final model, whose weights are all on the device.
        train: augmentation and accumulation.
        size: rows and columns of the images.
        recompute: in place of `train.recompute`.
    """
    weights = sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)
    copies = 4 if train.accumulation > 1 else 3  # gradients, their sum, two moments
    kept = kept_for_backward(*_step(network, train, size, recompute))
    per_image = sum(array.bytes for array in kept.arrays if _is_of_batch(array))
    largest = max(sum(array.bytes for array in product if _is_of_batch(array)) for product in kept.products)
    return Memory(
        _FLOAT32 * whole.count_params(),
        copies * _FLOAT32 * weights,
        sum(array.bytes for array in kept.arrays if not _is_of_batch(array)),
        max(per_image, largest) // _IMAGES,
    )


def _is_of_batch(array: Array) -> bool:
    return array.elements % _IMAGES == 0


def _step(network: keras.Model, train: Train, size: int, recompute: bool) -> tuple[Any, ...]:
    """The forward pass of a training step, and the shapes of its arguments."""
    outputs = network.output_shape[-1]
    loss = binary_crossentropy(np.full(outputs, 1 / outputs, np.float32))
    # Moments are counted, not made: this optimizer has none.
    learner = Learner(network, keras.optimizers.SGD(), loss, train.augmentation, recompute)
    drawn = draw(train.augmentation, 0, 0, item_keys(map(str, range(_IMAGES))))
    images = jax.ShapeDtypeStruct((_IMAGES, size, size, 3), jnp.uint8)
    targets = jax.ShapeDtypeStruct((_IMAGES, outputs), jnp.float32)
    state = jax.tree.map(_shape, learner.state())
    batch = Batch(images, jax.tree.map(_shape, drawn), targets)
    return learner._forward, state.trainable, state.non_trainable, state.optimizer, batch


def _shape(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def device_memory() -> tuple[str, int]:
    """The device that trains, and how many bytes of its memory JAX may use; of a CPU, a third of what is free."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if computes_on_cpu() or not limit:
        return str(device.device_kind), int(_OF_CPU * psutil.virtual_memory().available)
    return str(device.device_kind), int(limit)
