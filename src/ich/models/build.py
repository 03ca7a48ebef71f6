"""The networks that a config asks for, and which of their layers learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras

from ich.config import Train
from ich.models.backbones import build_backbone, keras_file, top_layers, weight_file
from ich.models.cascade import CONVNEXT, EFFICIENTNET, GATE_TRUNK, build_cascade
from ich.models.fast_layers import make_fast
from ich.models.flat import build_flat
from ich.models.gate import build_gate
from ich.models.initialize import numpy_initializers
from ich.models.subtypes import build_subtypes
from ich.models.whole_models import load_head

Part = Literal["gate", "subtypes", "final"]
Trainable = Literal["heads", "top", "all"]

# Whole models that a folder `train.weights` may hold, by what is built from them.
WHOLE_MODELS: dict[str, tuple[str, ...]] = {
    "gate": ("stage1_best.h5", "cascade_final.h5"),
    "subtypes": ("stage2_best.h5", "cascade_final.h5"),
    "efficientnet": ("efficientnet_best.h5", "efficientnet_final.h5"),
    "convnext": ("convnext_best.h5", "convnext_final.h5"),
}

_NO_HEAD = "only one of the same shapes, from the file that all its backbones come from, is taken"


@dataclass(frozen=True)
class Networks:
    """One model and its stages; the stages share their weights with `final`.

    Attributes:
        final: RGB 0-255 (n, size, size, 3) to probabilities, float32 (n, 6) in label order. What is evaluated and used.
        gate: stage 1, images to P(any) (n, 1); None for a flat model.
        subtypes: stage 2, images to P(subtype | any) (n, 5); None for a flat model.
        loaded: what came from whole models, a line for each network, for the user.
    """

    final: keras.Model
    gate: keras.Model | None = None
    subtypes: keras.Model | None = None
    loaded: tuple[str, ...] = ()


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
    heads = train.heads
    if train.model in ("efficientnet", "convnext"):
        flat = build_flat(_backbone(train, size, EFFICIENTNET if train.model == "efficientnet" else CONVNEXT), heads)
        return Networks(flat, loaded=_load_heads(train, [flat]))
    efficientnet, convnext = (_backbone(train, size, label) for label in (EFFICIENTNET, CONVNEXT))
    trunk = _backbone(train, size, GATE_TRUNK) if train.model == "cascade" else efficientnet
    gate, subtypes = build_gate(trunk, heads), build_subtypes(efficientnet, convnext, heads)
    return Networks(build_cascade(gate, subtypes), gate, subtypes, _load_heads(train, [gate, subtypes]))


def _backbone(train: Train, size: int, label: str) -> keras.Model:
    part = _weights_of(train, label)
    groups = (GATE_TRUNK, EFFICIENTNET) if part == "gate" else (label,)
    return build_backbone(
        _name(train, label), size, train.weights, label=label, files=WHOLE_MODELS[part], groups=groups
    )


def _name(train: Train, label: str) -> str:
    return train.backbones.convnext if label == CONVNEXT else train.backbones.efficientnet


def _weights_of(train: Train, label: str) -> str:
    """Whose weights a backbone starts with, a key of WHOLE_MODELS; a trunk that stages share has the gate's."""
    if train.model in ("efficientnet", "convnext"):
        return train.model
    return "gate" if label == GATE_TRUNK or (train.model, label) == ("modified-cascade", EFFICIENTNET) else "subtypes"


def _load_heads(train: Train, networks: Sequence[keras.Model]) -> tuple[str, ...]:
    """Give heads the weights that they have in the whole model from which their backbones come; see `loaded`."""
    lines = []
    for network in networks:
        files = {backbone.name: _whole_model(train, backbone.name) for backbone in backbones(network)}
        told = [f"{label} from {path}" for label, path in files.items() if path]
        if told:
            (path, *others) = set(files.values())
            loaded = path is not None and not others and load_head(network.layers[-1], backbones(network), path)
            head = "its head too" if loaded else f"its head starts at random: {_NO_HEAD}"
            lines.append(f"train.weights: {network.name}: {', '.join(told)}; {head}")
    return tuple(lines)


def weight_files(train: Train) -> list[Path]:
    """The files that `train.weights` comes to, of each backbone one; none for `imagenet` and `none`.

    Raises:
        DataError: a file is not there.
    """
    files = [_file(train, label) for label in _labels(train)]
    return list(dict.fromkeys(file for file in files if file))


def whole_models(train: Train) -> list[Path]:
    """Those of `weight_files` that are whole models, trained by somebody on something, and not Keras's own.

    Raises:
        DataError: a file is not there.
    """
    files = [_whole_model(train, label) for label in _labels(train)]
    return list(dict.fromkeys(file for file in files if file))


def _labels(train: Train) -> tuple[str, ...]:
    labels = {"cascade": (GATE_TRUNK, EFFICIENTNET, CONVNEXT), "efficientnet": (EFFICIENTNET,), "convnext": (CONVNEXT,)}
    return labels.get(train.model, (EFFICIENTNET, CONVNEXT))


def _file(train: Train, label: str) -> Path | None:
    return weight_file(_name(train, label), train.weights, WHOLE_MODELS[_weights_of(train, label)])


def _whole_model(train: Train, label: str) -> Path | None:
    """The whole model from which a backbone has its weights, if they come from one."""
    path = _file(train, label)
    return None if path is None or path.name == keras_file(_name(train, label)) else path


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
