"""`ich train --dry-run`: what a training would do, and take, without doing it. It writes nothing into the workspace."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ich.config import Experiment, Phase, Train
from ich.errors import DataError
from ich.labels import LABELS, read_table
from ich.models.backbones import top_layers
from ich.models.build import Networks, Part, Trainable, backbones, build, set_trainable
from ich.models.cascade import CONVNEXT
from ich.precision import resolve_precision
from ich.progress import progress_bar
from ich.training.batch_size import choose, estimate_part, fewest, heaviest, kept_batch_size, replaced
from ich.training.memory import TOLERANCE, USABLE, Memory, device_memory
from ich.training.phases import Stage, stages
from ich.training.speed import images_per_s, seconds_an_epoch, validated_per_s, why_unknown
from ich.training.train import dtype_policy, refuse_other_backends
from ich.workspace import Workspace

# A GPU of 16 GB, of which JAX takes three quarters at its start.
SMALL_GPU = 16_000_000_000 * 3 // 4

# What the notebooks' README says: parameters of a network, and how many of them learn in fine-tuning.
_CLAIMED = {"gate": (54_000_000, 45_000_000), "subtypes": (135_000_000, 120_000_000)}
_KNOWN = {
    "gate": "54 M is this, rounded; 45 M is near the last resolution stage and the head",
    "subtypes": "both published backbones without their tops are 140.7 M (53.2 and 87.6), so 135 M cannot hold them; "
    "which layers its 120 M are is not said, and the last resolution stages do not hold so many",
}


@dataclass(frozen=True)
class _Given:
    """What all parts of a plan are made from; `train.batch_size` of the config is a number."""

    config: Experiment
    networks: Networks
    precision: str
    device: str
    device_memory: int
    labels: Mapping[str, NDArray[np.uint8] | None]
    advance: Callable[[int], object]
    memories: dict[tuple[Part, Trainable], Memory] = field(default_factory=dict)

    def memory(self, part: Part, which: Trainable) -> Memory:
        """Memory of a step, traced once."""
        if (part, which) not in self.memories:
            self.memories[part, which] = estimate_part(self.config, self.networks, part, which)
            self.advance(1)
        return self.memories[part, which]


def plan(config: Experiment) -> dict[str, Any]:
    """The plan of a training.

    Networks are built on random weights, whatever `train.weights` says; tables are read for their number of slices, if
    they are there.

    Returns:
        model, precision, device, batch_size and its reason; networks; stages with their phases; on_16_GB: which batch
        fits a GPU of that size in half precision, unless the config says another.

    Raises:
        ConfigError: a network cannot be built as named.
        IchError: Keras's backend is not JAX.
    """
    refuse_other_backends()
    precision, (device, memory) = resolve_precision(config.train.precision), device_memory()
    labels = {split: _labels(config, split) for split in ("train", "val")}
    traced = {(stage.part, phase.trainable) for stage in stages(config.train) for phase in stage.phases}
    with progress_bar("building and tracing", len(traced) + 3) as advance:
        networks = _random(config, precision)
        batch_size, reason = _batch_size(config, networks, device, memory, labels["train"])
        advance(1)
        given = _Given(replaced(config, batch_size), networks, precision, device, memory, labels, advance)
        described = [_stage(given, stage) for stage in stages(config.train)]
        small = _on_small_gpu(config, given)
    return {
        "model": config.train.model, "precision": precision, "size": config.preprocess.size,
        "device": device, "device_memory_bytes": memory, "usable": USABLE, "tolerance": TOLERANCE,
        "batch_size": batch_size, "batch_size_reason": reason, "accumulation": config.train.accumulation,
        "recompute": config.train.recompute,
        "networks": _networks(config, networks), "stages": described, "on_16_GB": small,
    }  # fmt: skip


def _random(config: Experiment, precision: str) -> Networks:
    with dtype_policy(precision):
        train = config.train.model_copy(update={"weights": "none"})
        return build(train, config.preprocess.size, config.seed)


def _on_small_gpu(config: Experiment, given: _Given) -> list[dict[str, Any]]:
    """The largest batch that fits, without and with recompute."""
    precision = "mixed_bfloat16" if config.train.precision == "auto" else given.precision
    networks = given.networks if given.precision in (precision, "mixed_float16") else _random(config, precision)
    found = []
    for recompute in (False, True):
        choice = choose(heaviest(config, networks, recompute), "a GPU of 16 GB", SMALL_GPU, None)
        given.advance(1)
        found.append({
            "recompute": recompute, "precision": precision, "heaviest": choice.heaviest,
            "batch_size": choice.batch_size, "estimate_bytes": choice.estimate, "fits": choice.fits,
        })  # fmt: skip
    return found


def _batch_size(
    config: Experiment, networks: Networks, device: str, memory: int, labels: NDArray[np.uint8] | None
) -> tuple[int, str]:
    """What the training would take, and why."""
    if config.train.batch_size != "auto":
        return config.train.batch_size, "train.batch_size"
    kept = kept_batch_size(config)
    if kept is not None:
        return kept, "auto: as this run began"
    slices = None if labels is None else fewest(config, labels)
    choice = choose(heaviest(config, networks), device, memory, slices)
    return choice.batch_size, f"auto: {choice.reason}"


def _labels(config: Experiment, split: Any) -> NDArray[np.uint8] | None:
    """Labels (n, 6) of a split; None where it has no table yet."""
    try:
        return read_table(Workspace(config).table(split)).select(LABELS).to_numpy().astype(np.uint8)
    except DataError:
        return None


def _networks(config: Experiment, networks: Networks) -> list[dict[str, Any]]:
    parts = {"gate": networks.gate, "subtypes": networks.subtypes, "final": networks.final}
    names = config.train.backbones
    published = (names.efficientnet, names.convnext) == ("EfficientNetV2M", "ConvNeXtBase")
    result = []
    for part, network in parts.items():
        if network is None:
            continue
        row: dict[str, Any] = {"network": part, "parameters": network.count_params()}
        if published and config.train.model == "cascade" and part in _CLAIMED:
            claimed, learning = _CLAIMED[part]
            row |= {"claimed": claimed, "claimed_trainable": learning, "difference": _KNOWN[part]}
        result.append(row)
    return result


def _stage(given: _Given, stage: Stage) -> dict[str, Any]:
    slices = {split: _slices(stage, labels) for split, labels in given.labels.items()}
    together = given.config.train.images_together
    batch_size = min(together, slices["train"] or together)
    return {
        "stage": stage.name, "network": stage.part, "slices": slices["train"], "validation_slices": slices["val"],
        "batch_size": batch_size,
        "phases": [
            _phase(given, stage, phase, batch_size) | {"time": _time(given, stage, phase, slices, batch_size)}
            for phase in stage.phases
        ],
    }  # fmt: skip


def _slices(stage: Stage, labels: NDArray[np.uint8] | None) -> int | None:
    if labels is None:
        return None
    return int(np.count_nonzero(labels[:, 0])) if stage.part == "subtypes" else len(labels)


def _phase(given: _Given, stage: Stage, phase: Phase, batch_size: int) -> dict[str, Any]:
    memory = given.memory(stage.part, phase.trainable)
    network = set_trainable(given.networks, stage.part, phase.trainable)
    return {
        "phase": phase.name, "epochs": phase.epochs, "learning_rate": phase.learning_rate, "trainable": phase.trainable,
        "learns": learns(given.config.train, network, phase.trainable), **trainable_counts(network),
        "memory": _bytes(memory, batch_size) | {"fits": memory.at(batch_size) <= USABLE * given.device_memory},
    }  # fmt: skip


def _bytes(memory: Memory, batch_size: int) -> dict[str, int]:
    return {
        "weights": memory.weights, "gradients_and_moments": memory.learnt,
        "kept_for_backward": memory.kept + batch_size * memory.per_image, "total": memory.at(batch_size),
    }  # fmt: skip


def trainable_counts(network: keras.Model) -> dict[str, int]:
    """Parameters that learn and that do not (batch-norm statistics among them), and layers with weights."""
    learning = sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)
    every = {id(layer): layer for layer in network._flatten_layers(include_self=False)}.values()
    single = [layer for layer in every if layer.weights and not list(layer._flatten_layers(include_self=False))]
    return {
        "trainable_parameters": learning,
        "frozen_parameters": network.count_params() - learning,
        "trainable_layers": sum(bool(layer.trainable_variables) for layer in single),
        "layers": len(single),
    }


def learns(train: Train, network: keras.Model, which: Trainable) -> dict[str, str]:
    """What learns of each backbone and the head, in words; `set_trainable` must have been called."""
    names = train.backbones
    rules = {}
    for backbone in backbones(network):
        name = f"{backbone.name} ({names.convnext if backbone.name == CONVNEXT else names.efficientnet})"
        if backbone.trainable:
            rules[name] = f"last resolution stage: {_from_top(backbone)}" if which == "top" else "all layers"
        elif which == "heads":
            rules[name] = f"frozen{', batch-norm statistics too' if _is_normalised(backbone) else ''}"
        else:
            rules[name] = "frozen: it is the gate's trunk too"
    return rules | {"head": "all layers"}


def _is_normalised(backbone: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in backbone.layers)


def _from_top(backbone: keras.Model) -> str:
    first = top_layers(backbone)[0].name
    if "downsampling" in first:
        return f"from its downsampling on ({first})"
    return f"from {first.split('_')[0]}'s strided convolution on ({first})"


def _time(
    given: _Given, stage: Stage, phase: Phase, slices: Mapping[str, int | None], batch_size: int
) -> dict[str, Any]:
    """`images_per_s` and `hours` of all epochs, least and most, and their source; or why they are unknown."""
    measured = seconds_an_epoch(given.config, stage.name, phase.name)
    if measured is not None:
        hours = measured * phase.epochs / 3600
        return {"hours": [hours, hours], "source": "this run's history.csv"}
    unknown = why_unknown(given.config, given.device, given.precision, batch_size)
    if unknown:
        return {"unknown": unknown}
    network = set_trainable(given.networks, stage.part, phase.trainable)
    rates = images_per_s(given.config, network, phase.trainable)
    time: dict[str, Any] = {"images_per_s": sorted(rates), "source": "measured.json; if the disk keeps up"}
    if slices["train"] and slices["val"]:
        validation = slices["val"] / validated_per_s(given.config, network)
        time["hours"] = sorted(phase.epochs * (slices["train"] / rate + validation) / 3600 for rate in rates)
    return time
