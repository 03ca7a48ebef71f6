"""One backbone and six sigmoids: the `efficientnet` and `convnext` models."""

import keras

from ich.config import Heads
from ich.labels import LABELS
from ich.models.gate import pooled_head

FLAT_HEAD = "flat_head"


def build_flat(backbone: keras.Model, heads: Heads) -> keras.Model:
    """A flat model: the gate's head with an output for each label.

    Returns:
        RGB 0-255 (n, size, size, 3) to probabilities, float32 (n, 6) in label order. Nothing here makes `any` the
        largest: whoever reports them raises it where needed, and counts how often.
    """
    images = keras.Input(backbone.input_shape[1:], name="images")
    head = pooled_head(backbone.output_shape[1:], len(LABELS), heads, FLAT_HEAD)
    return keras.Model(images, head(backbone(images)), name="flat")
