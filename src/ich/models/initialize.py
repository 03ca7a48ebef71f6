"""Random starts drawn by NumPy: the same distributions as Keras's initialisers, without their compilations."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np


@contextlib.contextmanager
def numpy_initializers(seed: int) -> Iterator[None]:
    """Within the block, variance-scaling initialisers (Glorot, He, LeCun are such) draw from one NumPy generator.

    Zeros and ones come from NumPy too. On JAX each new shape compiles a small program, or several: 19 s for a demo
    cascade, against 0.6 s (LAB_BOOK.md). Keras's constructors take no initialiser, so the methods are replaced
    meanwhile; not for use from several threads.
    """
    generator = np.random.default_rng(seed)

    def draw(self: keras.initializers.VarianceScaling, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return _on_device(variance_scaling(generator, shape, self.scale, self.mode, self.distribution))

    def zeros(self: keras.initializers.Zeros, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return _on_device(np.zeros(shape, dtype or "float32"))

    def ones(self: keras.initializers.Ones, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return _on_device(np.ones(shape, dtype or "float32"))

    names = keras.initializers
    with contextlib.ExitStack() as stack:
        for initializer, function in ((names.VarianceScaling, draw), (names.Zeros, zeros), (names.Ones, ones)):
            stack.enter_context(mock.patch.object(initializer, "__call__", function))
        yield


def _on_device(values: np.ndarray) -> Any:
    """As Keras keeps a variable: from NumPy's array it would make one by a program compiled for each shape."""
    if keras.backend.backend() != "jax":
        return values
    import jax

    return jax.device_put(values)


def variance_scaling(
    generator: np.random.Generator, shape: tuple[int, ...], scale: float, mode: str, distribution: str
) -> np.ndarray:
    """float32 draws with mean 0 and variance scale / fan.

    Args:
        generator: where the draws come from.
        shape: of a dense (in, out) or convolution (..., in, out) kernel.
        scale: of the variance.
        mode: fan_in, fan_out or fan_avg.
        distribution: uniform, truncated_normal (at two standard deviations) or untruncated_normal.
    """
    receptive = int(np.prod(shape[:-2]))
    fan_in, fan_out = receptive * shape[-2] if len(shape) > 1 else shape[0], receptive * shape[-1]
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    deviation = np.float32(np.sqrt(scale / max(1.0, fan)))
    if distribution == "uniform":
        return deviation * np.float32(np.sqrt(3)) * (2 * generator.random(shape, np.float32) - 1)
    values = generator.standard_normal(shape, np.float32)
    if distribution == "truncated_normal":
        while (outside := np.abs(values) > 2).any():
            values[outside] = generator.standard_normal(int(outside.sum()), np.float32)
        deviation /= np.float32(0.87962566103423978)  # standard deviation of a normal truncated at 2
    return deviation * values
