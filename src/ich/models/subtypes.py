"""Stage 2: which subtypes a slice with haemorrhage shows. Two backbones, fused by cross-attention."""

import keras

from ich.config import Heads
from ich.labels import SUBTYPES
from ich.models.gate import l2

SUBTYPE_HEAD = "subtype_head"
ATTENTION = "attention"


def build_subtypes(efficientnet: keras.Model, convnext: keras.Model, heads: Heads) -> keras.Model:
    """The subtype stage.

    Args:
        efficientnet, convnext: RGB images to feature maps (`build_backbone`), of the same image size.
        heads: layer sizes.

    Returns:
        RGB 0-255 (n, size, size, 3) to P(subtype | any), float32 (n, 5) in the order of SUBTYPES.
    """
    images = keras.Input(efficientnet.input_shape[1:], name="images")
    head = subtype_head(efficientnet.output_shape[1:], convnext.output_shape[1:], heads)
    return keras.Model(images, head([efficientnet(images), convnext(images)]), name="subtypes")


def subtype_head(
    efficientnet_shape: tuple[int, int, int], convnext_shape: tuple[int, int, int], heads: Heads
) -> keras.Model:
    """Two feature maps to P(subtype | any), float32 (n, 5).

    Each position of a map is a token. EfficientNet's tokens are the queries, ConvNeXt's the keys and values; the mean
    of the result stands beside the pooled maps.
    """
    inputs = [keras.Input(efficientnet_shape, name="efficientnet"), keras.Input(convnext_shape, name="convnext")]
    queries, values = (_tokens(features, heads) for features in inputs)
    attended, _ = keras.layers.MultiHeadAttention(
        heads.attention_heads, max(1, heads.attention_width // heads.attention_heads), name=ATTENTION
    )(queries, values, return_attention_scores=True)
    x = keras.layers.Concatenate(name="fused")(
        [
            keras.layers.GlobalAveragePooling1D(name="pool_attended")(attended),
            *(keras.layers.GlobalAveragePooling2D(name=f"pool_{features.name}")(features) for features in inputs),
        ]
    )
    x = keras.layers.Dense(heads.subtype_units, "relu", kernel_regularizer=l2(heads), name="dense")(x)
    x = keras.layers.Dropout(heads.subtype_dropout, name="dropout")(x)
    x = keras.layers.Dense(
        len(SUBTYPES), "sigmoid", kernel_regularizer=l2(heads), dtype="float32", name="probabilities"
    )(x)
    return keras.Model(inputs, x, name=SUBTYPE_HEAD)


def attention_model(subtypes: keras.Model) -> keras.Model:
    """The subtype stage with its attention weights as a second output; it shares the weights of `subtypes`.

    Returns:
        RGB 0-255 (n, size, size, 3) to P(subtype | any) (n, 5) and attention (n, heads, t, t) with t = (size/32)^2:
        row = EfficientNet position, column = ConvNeXt position, rows sum to 1.
    """
    head = subtypes.get_layer(SUBTYPE_HEAD)
    attending = keras.Model(head.inputs, [head.output, head.get_layer(ATTENTION).output[1]], name=SUBTYPE_HEAD)
    images = keras.Input(subtypes.input_shape[1:], name="images")
    maps = [subtypes.get_layer(label)(images) for label in ("efficientnet", "convnext")]
    return keras.Model(images, attending(maps), name="subtypes_with_attention")


def _tokens(features: keras.KerasTensor, heads: Heads) -> keras.KerasTensor:
    rows, columns, channels = features.shape[1:]
    tokens = keras.layers.Reshape((rows * columns, channels), name=f"tokens_{features.name}")(features)
    return keras.layers.Dense(heads.attention_width, name=f"project_{features.name}")(tokens)
