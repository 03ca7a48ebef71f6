"""Stage 1: whether a slice shows any haemorrhage. Also the head that the flat models share with it."""

import keras

from ich.config import Heads

GATE_HEAD = "gate_head"


def build_gate(backbone: keras.Model, heads: Heads) -> keras.Model:
    """The gate.

    Args:
        backbone: RGB images to a feature map (`build_backbone`).
        heads: layer sizes.

    Returns:
        RGB 0-255 (n, size, size, 3) to P(any), float32 (n, 1) in [0, 1].
    """
    images = keras.Input(backbone.input_shape[1:], name="images")
    head = pooled_head(backbone.output_shape[1:], 1, heads, GATE_HEAD)
    return keras.Model(images, head(backbone(images)), name="gate")


def pooled_head(map_shape: tuple[int, int, int], outputs: int, heads: Heads, name: str) -> keras.Model:
    """Feature map to probabilities, float32 (n, outputs): pooling, dropout, dense, dropout, sigmoids."""
    features = keras.Input(map_shape, name="features")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    x = keras.layers.Dropout(heads.gate_dropout, name="dropout_1")(x)
    x = keras.layers.Dense(heads.gate_units, "relu", kernel_regularizer=l2(heads), name="dense")(x)
    x = keras.layers.Dropout(heads.gate_dropout, name="dropout_2")(x)
    x = keras.layers.Dense(outputs, "sigmoid", kernel_regularizer=l2(heads), dtype="float32", name="probabilities")(x)
    return keras.Model(features, x, name=name)


def l2(heads: Heads) -> keras.regularizers.Regularizer | None:
    """The penalty on a dense kernel of the heads; None for 0, which keeps it out of the graph."""
    return keras.regularizers.L2(heads.l2) if heads.l2 else None
