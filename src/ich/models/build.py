"""The networks that a config asks for, and which of their layers learn."""

from dataclasses import dataclass
from typing import Literal

import keras

from ich.config import Train
from ich.models.backbones import build_backbone, top_layers
from ich.models.cascade import CONVNEXT, EFFICIENTNET, GATE_TRUNK, build_cascade
from ich.models.fast_layers import make_fast
from ich.models.flat import build_flat
from ich.models.gate import build_gate
from ich.models.initialize import numpy_initializers
from ich.models.subtypes import build_subtypes

Part = Literal["gate", "subtypes", "final"]
Trainable = Literal["heads", "top", "all"]


@dataclass(frozen=True)
class Networks:
    """One model and its stages; the stages share their weights with `final`.

    Attributes:
        final: RGB 0-255 (n, size, size, 3) to probabilities, float32 (n, 6) in label order. What is evaluated and used.
        gate: stage 1, images to P(any) (n, 1); None for a flat model.
        subtypes: stage 2, images to P(subtype | any) (n, 5); None for a flat model.
    """

    final: keras.Model
    gate: keras.Model | None = None
    subtypes: keras.Model | None = None


def build(train: Train, size: int, seed: int) -> Networks:
    """Build what `train.model` names, with the weights of `train.weights`.

    Sets Keras's, NumPy's and Python's global seeds. Layers take the global dtype policy, so set that first. They
    compute as `ich.models.fast_layers` says.

    Raises:
        ConfigError, DataError: see `build_backbone`.
    """
    keras.utils.set_random_seed(seed)
    with numpy_initializers(seed):
        networks = _build(train, size)
    make_fast(networks.final)
    return networks


def _build(train: Train, size: int) -> Networks:
    names, heads = train.backbones, train.heads
    if train.model == "efficientnet":
        return Networks(build_flat(build_backbone(names.efficientnet, size, train.weights, label=EFFICIENTNET), heads))
    if train.model == "convnext":
        return Networks(build_flat(build_backbone(names.convnext, size, train.weights, label=CONVNEXT), heads))
    efficientnet = build_backbone(names.efficientnet, size, train.weights, label=EFFICIENTNET)
    convnext = build_backbone(names.convnext, size, train.weights, label=CONVNEXT)
    trunk = efficientnet
    if train.model == "cascade":
        trunk = build_backbone(names.efficientnet, size, train.weights, label=GATE_TRUNK)
    gate, subtypes = build_gate(trunk, heads), build_subtypes(efficientnet, convnext, heads)
    return Networks(build_cascade(gate, subtypes), gate, subtypes)


def set_trainable(networks: Networks, part: Part, which: Trainable) -> keras.Model:
    """Choose what learns in the next `fit` of one part, and return that part. Compile it afterwards.

    Args:
        networks: from `build`.
        part: the part that is about to be trained.
        which: `heads`: backbones frozen; `top`: heads and `top_layers` of each backbone; `all`: everything. Frozen
            batch normalisation uses its stored statistics and leaves them as they are.

    A trunk that both stages share learns with the gate and end to end, never with the subtypes: stage 2 would change
    what the gate has learnt.
    """
    model: keras.Model = getattr(networks, part)
    for backbone in backbones(model):
        shared = networks.gate is not None and backbone in networks.gate.layers
        learns = which != "heads" and not (part == "subtypes" and shared)
        backbone.trainable = learns
        if learns and which == "top":
            top = {id(layer) for layer in top_layers(backbone)}
            for layer in backbone.layers:
                layer.trainable = id(layer) in top
    return model


def start_stage2_from_gate(networks: Networks) -> None:
    """Give stage 2's EfficientNet the weights of the gate's trunk; a shared trunk has them already."""
    if networks.gate is not None and networks.subtypes is not None and GATE_TRUNK in _names(networks.gate):
        trained = networks.gate.get_layer(GATE_TRUNK).get_weights()
        networks.subtypes.get_layer(EFFICIENTNET).set_weights(trained)


def _names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


def backbones(model: keras.Model) -> list[keras.Model]:
    """The backbones of a gate, a subtype stage, a cascade or a flat model."""
    return [layer for layer in model.layers if layer.name in (GATE_TRUNK, EFFICIENTNET, CONVNEXT)]
