"""Both stages as one network: P(any), and P(subtype) = P(any) P(subtype | any).

A cascade is a flat graph of backbones, two heads and a product. Backbones that have the same label in both stages are
one and the same layer, computed once: that is the whole difference between `cascade` (labels gate_efficientnet,
efficientnet, convnext) and `modified-cascade` (efficientnet, convnext).
"""

import keras

from ich.models.gate import GATE_HEAD
from ich.models.subtypes import SUBTYPE_HEAD

GATE_TRUNK = "gate_efficientnet"
EFFICIENTNET = "efficientnet"
CONVNEXT = "convnext"


def build_cascade(gate: keras.Model, subtypes: keras.Model) -> keras.Model:
    """The soft product of both stages; it shares their weights.

    Returns:
        RGB 0-255 (n, size, size, 3) to probabilities, float32 (n, 6) in label order, any >= every subtype.
    """
    images = keras.Input(gate.input_shape[1:], name="images")
    trunk = next(layer for layer in gate.layers if layer.name in (GATE_TRUNK, EFFICIENTNET))
    efficientnet, convnext = subtypes.get_layer(EFFICIENTNET), subtypes.get_layer(CONVNEXT)
    features = trunk(images)
    p_any = gate.get_layer(GATE_HEAD)(features)
    shared = features if trunk is efficientnet else efficientnet(images)
    p_subtype_if_any = subtypes.get_layer(SUBTYPE_HEAD)([shared, convnext(images)])
    p_subtype = keras.layers.Multiply(dtype="float32", name="product")([p_any, p_subtype_if_any])
    outputs = keras.layers.Concatenate(dtype="float32", name="probabilities")([p_any, p_subtype])
    return keras.Model(images, outputs, name="cascade")


def split_cascade(cascade: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The two runnable parts of a cascade, for gated prediction; they share its weights.

        p_any, *reused = keras.tree.flatten(gate(images))
        p_subtype_if_any = subtypes([images, *reused])      # only the rows that passed the gate

    Returns:
        gate: RGB 0-255 to P(any) (n, 1) and, where the trunk is shared, its feature map, which stage 2 reuses.
        subtypes: the images and what is reused to P(subtype | any) (n, 5).
    """
    labels = [layer.name for layer in cascade.layers]
    images = keras.Input(cascade.input_shape[1:], name="images")
    convnext = cascade.get_layer(CONVNEXT)(images)
    gate_head, subtype_head = cascade.get_layer(GATE_HEAD), cascade.get_layer(SUBTYPE_HEAD)
    efficientnet = cascade.get_layer(EFFICIENTNET)
    if GATE_TRUNK in labels:
        p_any = gate_head(cascade.get_layer(GATE_TRUNK)(images))
        p_subtype = subtype_head([efficientnet(images), convnext])
        return keras.Model(images, [p_any], name="gate"), keras.Model([images], p_subtype, name="subtypes")
    features = efficientnet(images)
    reused = keras.Input(efficientnet.output_shape[1:], name="features")
    return (
        keras.Model(images, [gate_head(features), features], name="gate"),
        keras.Model([images, reused], subtype_head([reused, convnext]), name="subtypes"),
    )
