"""Backbones by name: RGB images to feature maps at 1/32 of their size.

Two families, each with Keras's own members, for which ImageNet weights exist, and one narrow, shallow member for the
demo and the tests. Whatever scaling a family wants is inside its graph, so that every model takes RGB 0-255.
"""

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

# The generic constructors are not public API. Keras is pinned in pyproject.toml, and a test builds from both.
from keras.src.applications.convnext import ConvNeXt
from keras.src.applications.efficientnet_v2 import EfficientNetV2

from ich.errors import ConfigError, DataError, one_line
from ich.models.whole_models import load_backbone

STRIDE = 32

# Keras's constructors by name, and the stem of the weight file that belongs to each (<stem>_notop.h5).
PUBLISHED: dict[str, str] = {
    **{
        f"EfficientNetV2{member}": f"efficientnetv2-{member.lower()}"
        for member in ("B0", "B1", "B2", "B3", "S", "M", "L")
    },
    **{f"ConvNeXt{member}": f"convnext_{member.lower()}" for member in ("Tiny", "Small", "Base", "Large", "XLarge")},
}


def _efficientnet_demo(shape: tuple[int, int, int]) -> keras.Model:
    # Fused blocks only: XLA's depthwise convolutions on a CPU make a step twice as long (LAB_BOOK.md).
    widths, repeats, squeeze = (16, 24, 40, 64, 96), (1, 1, 2, 1), (0.0, 0.0, 0.25, 0.25)
    blocks = [
        {
            "kernel_size": 3, "num_repeat": repeats[i], "input_filters": widths[i], "output_filters": widths[i + 1],
            "expand_ratio": 4, "se_ratio": squeeze[i], "strides": 2, "conv_type": 1,
        }
        for i in range(4)
    ]  # fmt: skip
    return EfficientNetV2(
        1.0, 1.0, shape[0], drop_connect_rate=0.0, blocks_args=blocks, name="efficientnetv2-demo",
        include_top=False, weights=None, input_shape=shape,
    )  # fmt: skip


def _convnext_demo(shape: tuple[int, int, int]) -> keras.Model:
    # From a random start, LayerScale's 1e-6 and a feature map whose mean is the same in every image each keep it from
    # learning within a few hundred steps (LAB_BOOK.md): no LayerScale, and a batch normalisation at the end.
    network = ConvNeXt(
        [0, 1, 2, 1], [16, 32, 64, 128], layer_scale_init_value=None, name="convnext_demo",
        include_top=False, weights=None, input_shape=shape,
    )  # fmt: skip
    centred = keras.layers.BatchNormalization(momentum=0.8, name="centre")(network.output)
    return keras.Model(network.input, centred, name="convnext_demo")


DEMO: dict[str, Callable[[tuple[int, int, int]], keras.Model]] = {
    "EfficientNetV2Demo": _efficientnet_demo,
    "ConvNeXtDemo": _convnext_demo,
}


def build_backbone(
    name: str, size: int, weights: str, *, label: str, files: Sequence[str] = (), groups: Sequence[str] = ()
) -> keras.Model:
    """One backbone without its classification head.

    Args:
        name: a member of PUBLISHED or DEMO.
        size: rows and columns of the image, a multiple of 32, at least 64.
        weights: `imagenet` (Keras downloads the file), `none` (a random start), or a path, see `weight_file`.
        label: name of the model, by which it is found as a layer of others.
        files: whole models that a folder may hold instead of Keras's weight file.
        groups: the name that the backbone may have as a layer of a whole model, if not its label.

    Returns:
        RGB 0-255, float (n, size, size, 3), to features (n, size/32, size/32, c).

    Raises:
        ConfigError: unknown name, a size that does not fit, or published weights for a demo member.
        DataError: the weight file is not there, cannot be downloaded or read, or belongs to another network.
    """
    if name not in PUBLISHED and name not in DEMO:
        close = difflib.get_close_matches(name, [*PUBLISHED, *DEMO], n=3, cutoff=0.4) or [*PUBLISHED, *DEMO]
        raise ConfigError(f"train.backbones: no backbone is called {name!r}; did you mean {' or '.join(close)}?")
    if size % STRIDE or size < 2 * STRIDE:
        raise ConfigError(
            f"preprocess.size must be a multiple of {STRIDE} and at least {2 * STRIDE} for {name}, got {size}"
        )
    shape = (size, size, 3)
    if name in DEMO and weights == "imagenet":
        raise ConfigError(f"train.weights: {name} has no published weights; set it to none, got {weights!r}")
    path = weight_file(name, weights, files)
    if weights == "imagenet":
        backbone = _imagenet(name, shape)
    elif path is not None and path.name == keras_file(name):
        backbone = _of_keras_file(name, shape, path)
    else:
        backbone = DEMO[name](shape) if name in DEMO else _published(name, shape, None)
        if path is not None:
            load_backbone(backbone, name, path, groups or (label,))
    backbone.name = label
    return backbone


def keras_file(name: str) -> str:
    """Name of Keras's weight file for a backbone."""
    return f"{PUBLISHED.get(name, name)}_notop.h5"


def weight_file(name: str, weights: str, files: Sequence[str] = ()) -> Path | None:
    """The file that has a backbone's weights.

    Args:
        name: of the backbone.
        weights: `train.weights`: `imagenet`, `none`, a file, or a folder.
        files: what is looked for in a folder after Keras's file, in this order.

    Returns:
        Keras's `<stem>_notop.h5` or a whole model, `.h5`; None for imagenet and none.

    Raises:
        DataError: there is none.
    """
    if weights in ("imagenet", "none"):
        return None
    path, names = Path(weights).expanduser(), (keras_file(name), *files)
    if path.is_dir():
        path = next((path / file for file in names if (path / file).is_file()), path / names[0])
    if not path.is_file():
        raise DataError(
            f"train.weights: {path} does not exist; put Keras's {' or the whole model '.join(names)} there, or set it "
            "to imagenet or none"
        )
    return path


def top_layers(backbone: keras.Model) -> list[keras.Layer]:
    """Layers of the last resolution stage and all that follow it: what `trainable: top` trains of a backbone.

    The stage starts with the first layer, in the order of the graph, whose output has the rows and columns of the
    feature map. EfficientNetV2: from block6a's strided convolution on. ConvNeXt: the third downsampling and stage 3.
    """
    layers = backbone.layers
    first = next(i for i, layer in enumerate(layers) if layer.output.shape[1:3] == backbone.output.shape[1:3])
    return layers[first:]


def _published(name: str, shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    return getattr(keras.applications, name)(include_top=False, weights=weights, input_shape=shape)


def _imagenet(name: str, shape: tuple[int, int, int]) -> keras.Model:
    try:
        return _published(name, shape, "imagenet")
    except Exception as error:  # Keras raises a bare Exception when a download fails
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        raise DataError(
            f"train.weights: the ImageNet weights of {name} could not be had ({one_line(error)}); put Keras's "
            f"{keras_file(name)} into {folder}, or set train.weights to the folder that holds it"
        ) from error


def _of_keras_file(name: str, shape: tuple[int, int, int], path: Path) -> keras.Model:
    try:
        return _published(name, shape, str(path))
    except (ValueError, OSError, KeyError) as error:
        raise DataError(
            f"train.weights: {path} does not hold weights of {name} without its top: {one_line(error)}"
        ) from error
