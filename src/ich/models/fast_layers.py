"""Layers of a built Keras network that move fewer bytes; weights, config and saved files stay Keras's own.

Both full networks are bound by the memory of a GPU, not by its arithmetic. At batch 128 in bfloat16 XLA's programs move

    EfficientNetV2M   training  121.5 GB a step, with this 104.6
    ConvNeXtBase      training  153.3 GB,        with this 126.6;   inference 63.2 GB, with this 42.7

(counted in the programs as compiled for an H100; LAB_BOOK.md, 2026-11-27). `make_fast` replaces what a layer computes
with, on the layer itself, so that `save` writes the file that it would have written, and plain Keras loads it. A
network that is loaded or cloned has Keras's own again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras

# The gradients are written by hand: keras.ops has no way to say what a backward pass keeps.
if keras.backend.backend() == "jax":
    import jax
    import jax.numpy as jnp


def make_fast(network: keras.Model) -> None:
    """Replace what the memory-bound layers of a network compute with; nothing where the backend is not JAX.

    Call it before the network is compiled. A second call changes nothing.
    """
    if keras.backend.backend() != "jax":
        return
    for layer in network._flatten_layers(include_self=False):  # not public; `layers` leaves out those of parts
        kind = type(layer)
        if kind is keras.layers.Activation and layer.activation is keras.activations.gelu:
            layer.activation = gelu
        elif kind is keras.layers.Activation and layer.activation is keras.activations.silu:
            layer.activation = silu
        elif kind is keras.layers.BatchNormalization and "_moments" not in vars(layer):
            layer._moments = partial(_moments, layer, layer._moments)
        elif kind is keras.layers.LayerNormalization and "call" not in vars(layer) and _is_plain(layer):
            layer.call = partial(_normalise, layer)


def gelu(x: Any) -> Any:
    """Exact GELU, x/2 (1 + erf(x / sqrt 2)), of a float array; computed in float32, returned in the type of x.

    Keras's own has XLA write three arrays of the size of x in training, and in bfloat16 two kernels in inference. This
    keeps x alone for the backward pass. It must be called `gelu`: Keras writes a layer's activation by its name.
    """
    return _gelu(x)


def silu(x: Any) -> Any:
    """X sigmoid(x), of a float array; computed in float32, returned in the type of x; keeps x alone. See `gelu`."""
    return _silu(x)


def _elementwise(function: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of each element, in float32, that keeps only its input for its gradient."""

    @jax.custom_vjp
    def apply(x: Any) -> Any:
        return function(x.astype(jnp.float32)).astype(x.dtype)

    def backward(x: Any, dy: Any) -> tuple[Any]:
        return ((dy.astype(jnp.float32) * slope(x.astype(jnp.float32))).astype(x.dtype),)

    apply.defvjp(lambda x: (apply(x), x), backward)
    return apply


if keras.backend.backend() == "jax":
    _gelu = _elementwise(
        lambda x: 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5)),
        # 0.39894 = 1 / sqrt(2 pi)
        lambda x: 0.5 * (1 + jax.lax.erf(x * 0.5**0.5)) + x * jnp.exp(-0.5 * x * x) * 0.3989422804014327,
    )
    _silu = _elementwise(
        lambda x: x * jax.nn.sigmoid(x), lambda x: jax.nn.sigmoid(x) * (1 + x * (1 - jax.nn.sigmoid(x)))
    )


def _moments(layer: keras.layers.BatchNormalization, original: Callable[..., Any], inputs: Any, mask: Any) -> Any:
    """Mean and variance of a batch (float32) from one reading of it, where Keras's own reads it twice.

    Both are taken about the mean of the batch's first image, which is close to that of all: taken about zero they would
    lose digits in a channel whose mean is large beside its standard deviation.
    """
    if mask is not None:
        return original(inputs, mask)
    axes = tuple(layer._reduction_axes)
    shift = jax.lax.stop_gradient(jnp.mean(inputs[:1], axes))
    away = inputs - jnp.expand_dims(shift, axes)
    mean = jnp.mean(away, axes)
    return mean + shift, jnp.maximum(jnp.mean(away * away, axes) - mean * mean, 0)


def _is_plain(layer: keras.layers.LayerNormalization) -> bool:
    return bool(layer.center and layer.scale and not layer.rms_scaling and list(layer.axis) in ([-1], [3]))


def _normalise(layer: keras.layers.LayerNormalization, inputs: Any) -> Any:
    """Layer normalisation over the last axis, in float32, of an array of any floating type; returned in that type."""
    return _layer_norm(inputs, layer.gamma.value, layer.beta.value, layer.epsilon).astype(layer.compute_dtype)


def _layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    @jax.custom_vjp
    def apply(x: Any, gamma: Any, beta: Any) -> Any:
        z = x.astype(jnp.float32)
        away = z - jnp.mean(z, -1, keepdims=True)  # XLA makes one kernel of this form, where no gradient is asked for
        return (away * _inverse_deviation(jnp.mean(away * away, -1, keepdims=True)) * gamma + beta).astype(x.dtype)

    def _inverse_deviation(variance: Any) -> Any:
        return jax.lax.rsqrt(variance + epsilon)

    def forward(x: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
        z = x.astype(jnp.float32)
        mean = jnp.mean(z, -1, keepdims=True)
        inverse = _inverse_deviation(jnp.mean((z - mean) ** 2, -1, keepdims=True))
        return ((z - mean) * inverse * gamma + beta).astype(x.dtype), (x, mean, inverse, gamma)

    def backward(kept: Any, dy: Any) -> tuple[Any, Any, Any]:
        x, mean, inverse, gamma = kept
        dy, unit = dy.astype(jnp.float32), (x.astype(jnp.float32) - mean) * inverse
        d = dy * gamma
        dx = inverse * (d - jnp.mean(d, -1, keepdims=True) - unit * jnp.mean(d * unit, -1, keepdims=True))
        rows = tuple(range(x.ndim - 1))
        return dx.astype(x.dtype), jnp.sum(dy * unit, rows), jnp.sum(dy, rows)

    apply.defvjp(forward, backward)
    return apply(x, gamma, beta)
