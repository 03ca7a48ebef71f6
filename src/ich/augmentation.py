"""Augmentation, defined once: step 5 writes images with it, and training applies it inside the training step.

Randomness is split into *draw* and *apply*, so that resuming, shuffling and the number of workers change nothing:

    keys = item_keys(image_ids)                      # once a data set: (n,) uint64
    draws = draw(config, seed, epoch, keys[batch])   # host, numpy: a row of parameters an image; about 1 us an image
    rgb = apply(rgb, draws, config)                  # device, keras.ops: (n, h, w, 3) uint8 -> float32 in [0, 255]

`Draws` is a NamedTuple of arrays whose first axis is the batch, hence a pytree: it passes through `jax.jit` with the
images. `config` (`OfflineAugmentation` or `TrainingAugmentation`) is static: it is hashable, and a transform whose
probability is 0 there leaves nothing in the graph. `apply` is traceable, for a training step that is compiled anyway;
`compiled(config)` is the same function compiled by itself.

Order: flip, rotate, shift, elastic in one bilinear resampling, with air (0 in all channels) outside the image; then
contrast and brightness; then blur. What each parameter means is albumentations 2.0.8's definition. `mix` is apart, as
training mixes the targets too.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np
from keras import ops
from scipy.special import betaincinv

from ich.config import OfflineAugmentation, TrainingAugmentation

Config = OfflineAugmentation | TrainingAugmentation


class Draws(NamedTuple):
    """What was drawn for each of n images; every field has shape (n,)."""

    horizontal_flip: np.ndarray  # bool: left and right change places
    vertical_flip: np.ndarray  # bool
    angle_degrees: np.ndarray  # float32, about the centre, counter-clockwise on the screen
    shift_rows: np.ndarray  # float32, share of the height, positive is down
    shift_columns: np.ndarray  # float32, share of the width, positive is to the right
    elastic: np.ndarray  # bool
    elastic_seed: np.ndarray  # uint32
    contrast: np.ndarray  # float32, gain; 1 is no change
    brightness: np.ndarray  # float32, share of 255 that is added; 0 is no change
    blur_kernel: np.ndarray  # int32, odd, pixels; 1 is no blur
    own_share: np.ndarray  # float32 in [0.5, 1], of the image itself in a mixed one; 1 is not mixed


def item_keys(names: Iterable[str]) -> np.ndarray:
    """Numbers to draw by, (n,) uint64: a hash of each name, so that an image's draws do not depend on its row."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def draw(config: Config, seed: int, epoch: int, keys: np.ndarray) -> Draws:
    """Draw the parameters of a batch.

    Args:
        config: probabilities and strengths.
        seed: of the experiment.
        epoch: from 0; step 5 uses 0.
        keys: (n,) non-negative integers, one an image (`item_keys`).

    Returns:
        Draws that depend on seed, epoch, the image's own key and nothing else.
    """
    u = _uniforms(seed, epoch, np.asarray(keys), 14)
    angle = np.where(u[2] < config.rotate, _symmetric(u[3], config.rotate_degrees), 0)
    changed = u[8] < config.brightness_contrast
    smallest, largest = config.blur_kernel
    kernel = smallest + 2 * np.floor(u[12] * ((largest - smallest) // 2 + 1))
    return Draws(
        horizontal_flip=u[0] < config.horizontal_flip,
        vertical_flip=u[1] < config.vertical_flip,
        angle_degrees=angle.astype(np.float32),
        shift_rows=_symmetric(u[4], config.shift).astype(np.float32),
        shift_columns=_symmetric(u[5], config.shift).astype(np.float32),
        elastic=u[6] < config.elastic,
        elastic_seed=(u[7] * 2**32).astype(np.uint32),
        contrast=np.where(changed, 1 + _symmetric(u[9], config.contrast), 1).astype(np.float32),
        brightness=np.where(changed, _symmetric(u[10], config.brightness), 0).astype(np.float32),
        blur_kernel=np.where(u[11] < config.blur, kernel, 1).astype(np.int32),
        own_share=_own_share(u[13], config).astype(np.float32),
    )


def apply(images: Any, draws: Draws, config: Config) -> Any:
    """Augment a batch.

    Args:
        images: (n, h, w, 3), uint8.
        draws: of these n images.
        config: the one that the draws were made with; says which transforms are in the graph.

    Returns:
        (n, h, w, 3) float32 in [0, 255], not rounded. An image's result does not depend on the rest of the batch.
    """
    images = _warp(images, draws, config) if _moves(config) else ops.cast(images, "float32")
    if config.brightness_contrast:
        images = _change_brightness_and_contrast(images, draws)
    if config.blur:
        images = _blur(images, draws.blur_kernel, config.blur_kernel[1])
    return images


def mix(values: Any, own_share: Any) -> Any:
    """Mixup (Zhang et al., ICLR 2018): each image of a batch, or its targets, with those of the image before it.

    Args:
        values: (n, ...) float: augmented images, or targets.
        own_share: (n,) of `Draws`.

    Returns:
        own_share * value + (1 - own_share) * value of the image before; before the first one is the last.
    """
    share = ops.reshape(own_share, (-1,) + (1,) * (len(values.shape) - 1))
    return share * values + (1 - share) * ops.roll(values, 1, axis=0)


def to_uint8(images: Any) -> Any:
    """Round to the nearest grey level: float in [0, 255] -> uint8."""
    return ops.cast(ops.round(images), "uint8")


@cache
def compiled(config: Config, rounded: bool = False) -> Callable[[Any, Draws], Any]:
    """`apply` with this config, compiled where the backend is JAX; `rounded` gives uint8 instead of float32."""

    def function(images: Any, draws: Draws) -> Any:
        augmented = apply(images, draws, config)
        return to_uint8(augmented) if rounded else augmented

    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


# Drawing


def _uniforms(seed: int, epoch: int, keys: np.ndarray, count: int) -> np.ndarray:
    """(count, n) float64 in [0, 1) from SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), used as a counter-based
    generator: the i-th number of an image is a hash of (seed, epoch, key, i).
    """
    state = _mix(np.array([seed], np.uint64))
    state = _mix(state + np.array([epoch], np.uint64))
    state = _mix(state + keys.astype(np.uint64))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mix(state[None, :] + steps[:, None]) >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _symmetric(u: np.ndarray, limit: float) -> np.ndarray:
    """From uniform in [0, 1) to uniform in [-limit, limit)."""
    return (2 * u - 1) * limit


def _own_share(u: np.ndarray, config: Config) -> np.ndarray:
    """From uniform to Beta(alpha, alpha), folded to its upper half (MixMatch, Berthelot et al., NeurIPS 2019).

    So an image stays mostly what it is called; as partners come in random order, the pairs are those of the whole Beta.
    """
    alpha = config.mixup if isinstance(config, TrainingAugmentation) else 0
    return betaincinv(alpha, alpha, (1 + u) / 2) if alpha else np.ones_like(u)


# Geometry


def _moves(config: Config) -> bool:
    return any((config.horizontal_flip, config.vertical_flip, _rotates(config), config.shift, config.elastic))


def _rotates(config: Config) -> bool:
    return config.rotate > 0 and config.rotate_degrees > 0


def _warp(images: Any, draws: Draws, config: Config) -> Any:
    """Flip, rotate, shift and deform in one bilinear resampling.

    Coordinates are float32 and made elementwise: through a matrix product they would be rounded to TF32 on a GPU
    (errors up to 18 of 255 grey levels were measured) or to bfloat16 (210).
    """
    height, width = images.shape[1:3]
    rows = ops.reshape(ops.arange(height, dtype="float32"), (1, height, 1)) - (height - 1) / 2
    columns = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, width)) - (width - 1) / 2
    # From an output pixel back to the input: the last transform is undone first.
    if config.elastic:
        down, right = displacement(draws.elastic_seed, height, width, config.elastic_alpha, config.elastic_sigma)
        rows = rows + _per_image(draws.elastic) * down
        columns = columns + _per_image(draws.elastic) * right
    if config.shift:
        rows = rows - _per_image(draws.shift_rows) * height
        columns = columns - _per_image(draws.shift_columns) * width
    if _rotates(config):
        angle = _per_image(draws.angle_degrees) * (math.pi / 180)
        cosine, sine = ops.cos(angle), ops.sin(angle)
        rows, columns = cosine * rows + sine * columns, cosine * columns - sine * rows
    rows = rows * (1 - 2 * _per_image(draws.vertical_flip))
    columns = columns * (1 - 2 * _per_image(draws.horizontal_flip))
    return _sample(images, rows + (height - 1) / 2, columns + (width - 1) / 2)


def _sample(images: Any, rows: Any, columns: Any) -> Any:
    """Bilinear samples of (n, h, w, 3) uint8 images at (n, h, w) pixel coordinates; 0 outside."""
    count, height, width = ops.shape(images)[0], images.shape[1], images.shape[2]
    # One int32 a pixel instead of three uint8: a third of the gathers, which are what the time goes to.
    channels = ops.cast(images, "int32")
    packed = channels[..., 0] + channels[..., 1] * 2**8 + channels[..., 2] * 2**16
    # A frame of air takes every coordinate outside the image: row -1 and height, and height + 1 as the far neighbour.
    packed = ops.reshape(ops.pad(packed, ((0, 0), (1, 2), (1, 2))), (-1,))
    rows, columns = ops.clip(rows, -1.0, float(height)), ops.clip(columns, -1.0, float(width))
    top, left = ops.floor(rows), ops.floor(columns)
    down, right = rows - top, columns - left
    image = ops.reshape(ops.arange(count, dtype="int32"), (-1, 1, 1))
    corner = (image * (height + 3) + ops.cast(top, "int32") + 1) * (width + 3) + ops.cast(left, "int32") + 1
    corners = [ops.take(packed, corner + offset) for offset in (0, 1, width + 3, width + 4)]
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    return ops.stack([_blend(corners, weights, channel) for channel in range(3)], axis=-1)


def _blend(corners: list[Any], weights: list[Any], channel: int) -> Any:
    unpacked = (ops.bitwise_and(ops.right_shift(corner, 8 * channel), 255) for corner in corners)
    return sum(weight * ops.cast(value, "float32") for value, weight in zip(unpacked, weights, strict=True))


def displacement(seeds: Any, height: int, width: int, alpha: float, sigma: float) -> tuple[Any, Any]:
    """Displacement fields of an elastic deformation (Simard et al., ICDAR 2003).

    Noise uniform in [-1, 1], smoothed by a Gaussian of `sigma` pixels cut off at 4 sigma, times `alpha` pixels:
    albumentations' `ElasticTransform(alpha, sigma, noise_distribution="uniform")`, its only one before version 2. The
    standard deviation is alpha / sqrt(3) / (2 sqrt(pi) sigma): 0.98 pixels for alpha 30, sigma 5.

    Args:
        seeds: (n,) uint32, one an image.
        height: of the images, in pixels.
        width: of the images, in pixels.
        alpha: scale of the field, in pixels.
        sigma: of the smoothing, in pixels.

    Returns:
        Two arrays (n, height, width), float32, in pixels: along rows and along columns.
    """
    radius = max(1, round(4 * sigma))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = alpha**0.5 * kernel / kernel.sum()
    # Noise reaches past the border, so that the field is as strong there as in the middle.
    shape = (2 * (height + 2 * radius), width + 2 * radius)
    noise = _noise(seeds, *shape)
    fields = ops.reshape(noise, (-1, 2, shape[0] // 2, shape[1]))
    fields = sum(float(weight) * fields[:, :, i : i + height, :] for i, weight in enumerate(kernel))
    fields = sum(float(weight) * fields[:, :, :, i : i + width] for i, weight in enumerate(kernel))
    return fields[:, 0], fields[:, 1]


def _noise(seeds: Any, height: int, width: int) -> Any:
    """(n, height, width) float32, uniform in [-1, 1): a hash of (seed, pixel), the same in any batch."""
    pixels = ops.reshape(ops.arange(height * width, dtype="uint32"), (1, height, width))
    bits = _hash(ops.bitwise_xor(_hash(pixels), ops.reshape(ops.cast(seeds, "uint32"), (-1, 1, 1))))
    return ops.cast(ops.right_shift(bits, 8), "float32") * 2.0**-23 - 1


def _hash(x: Any) -> Any:
    """The 32-bit finaliser `lowbias32` (C. Wellons, "Prospecting for Hash Functions", 2018)."""
    x = ops.bitwise_xor(x, ops.right_shift(x, 16)) * np.uint32(0x7FEB352D)
    x = ops.bitwise_xor(x, ops.right_shift(x, 15)) * np.uint32(0x846CA68B)
    return ops.bitwise_xor(x, ops.right_shift(x, 16))


# Grey levels


def _change_brightness_and_contrast(images: Any, draws: Draws) -> Any:
    """`contrast * image + brightness * 255`, kept in [0, 255]."""
    gain, offset = _per_image(draws.contrast), 255 * _per_image(draws.brightness)
    return ops.clip(gain[..., None] * images + offset[..., None], 0.0, 255.0)


def _blur(images: Any, kernels: Any, largest: int) -> Any:
    """Separable Gaussian blur, mirrored at the border: `cv2.GaussianBlur(image, (kernel, kernel), 0)`."""
    height, width = images.shape[1:3]
    radius = largest // 2
    table = np.zeros((radius + 1, largest), np.float32)  # a row for each kernel size: 1, 3, 5 ...
    for half in range(radius + 1):
        table[half, radius - half : radius + half + 1] = cv2.getGaussianKernel(2 * half + 1, 0)[:, 0]
    weights = ops.reshape(ops.take(table, ops.floor_divide(kernels, 2), axis=0), (-1, largest, 1, 1, 1))
    images = ops.pad(images, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="reflect")
    images = sum(weights[:, i] * images[:, i : i + height] for i in range(largest))
    return sum(weights[:, i] * images[:, :, i : i + width] for i in range(largest))


def _per_image(values: Any) -> Any:
    return ops.reshape(ops.cast(values, "float32"), (-1, 1, 1))
