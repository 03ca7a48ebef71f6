"""`train.batch_size: auto`: as many images together as the device's memory is estimated to take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ich.config import Experiment
from ich.data import Manifest
from ich.devices import of_first_process
from ich.errors import DataError
from ich.files import read_json, write_json
from ich.models.build import Networks, Part, Trainable, set_trainable
from ich.training.memory import USABLE, Memory, device_memory, estimate
from ich.training.phases import Stage, stages
from ich.workspace import Workspace

SIZES = (128, 64, 32, 16, 8)
FILE = "batch_size.json"  # in the run's folder

_WIDER: tuple[Trainable, ...] = ("heads", "top", "all")


@dataclass(frozen=True)
class Choice:
    """A batch size and why it is that.

    Attributes:
        batch_size: images together.
        estimate: bytes of a step of so many.
        device: whose memory it is.
        memory: bytes of it.
        heaviest: the stage and what it trains, that takes the most.
        slices: of the stage that has the fewest; None if that is not known.
    """

    batch_size: int
    estimate: int
    device: str
    memory: int
    heaviest: str
    slices: int | None

    @property
    def fits(self) -> bool:
        """Whether the estimate leaves enough free."""
        return self.estimate <= USABLE * self.memory

    @property
    def reason(self) -> str:
        """One line."""
        place = f"{USABLE:.0%} of the {size(self.memory)} of {self.device}"
        step = f"{self.heaviest} is estimated at {size(self.estimate)}"
        if not self.fits:
            return f"{step}, more than {place}, and less is not tried; train.recompute: true takes less memory"
        few = self.slices is not None and self.batch_size < SIZES[0] and 2 * self.batch_size > self.slices
        return f"{step}, within {place}" + (f"; a stage has {self.slices} slices only" if few else "")


def size(count: float) -> str:
    """Bytes for people: 12.3 GiB, 95 MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def with_batch_size(
    config: Experiment, networks: Networks, slices: Manifest, tell: Callable[[str], object], *, keep: bool = True
) -> Experiment:
    """The config with a number for `train.batch_size`: its own; or for `auto` that of the run's folder, or a new one.

    Args:
        config: of the experiment.
        networks: that it builds.
        slices: of training.
        tell: takes a line for the user, where the config says `auto`.
        keep: whether a new one is written down in the run's folder.
    """
    if config.train.batch_size != "auto":
        return config
    path, kept = Workspace(config).run / FILE, kept_batch_size(config)
    if kept is not None:
        images = kept
        tell(f"batch size {kept}: as this run began ({path}; delete it to choose again)")
    else:
        choice = choose(heaviest(config, networks), *device_memory(), fewest(config, slices.labels))
        images = choice.batch_size
        if keep:
            write_json(path, {
                "batch_size": images, "device": choice.device, "memory_bytes": choice.memory,
                "estimate_bytes": choice.estimate, "reason": choice.reason, "settings": _settings(config),
            })  # fmt: skip
        tell(f"batch size {images}: {choice.reason}")
    return replaced(config, int(of_first_process(images)))


def kept_batch_size(config: Experiment) -> int | None:
    """What was chosen for this run and these settings before; None where nothing was."""
    try:
        content = read_json(Workspace(config).run / FILE)
    except DataError:
        return None
    if not isinstance(content, dict) or content.get("settings") != _settings(config):
        return None
    images = content.get("batch_size")
    return images if isinstance(images, int) and images > 0 else None


def choose(memories: Mapping[str, Memory], device: str, memory: int, slices: int | None) -> Choice:
    """The largest of SIZES that fits; the smallest where none does.

    Args:
        memories: what each part of the training takes, by a name for it.
        device: whose memory it is.
        memory: bytes of it.
        slices: no batch is larger; None if not known.
    """
    sizes = [images for images in SIZES if slices is None or images <= slices] or [max(1, slices or 1)]

    def at(images: int) -> Choice:
        name = max(memories, key=lambda each: memories[each].at(images))
        return Choice(images, memories[name].at(images), device, memory, name, slices)

    choices = [at(images) for images in sizes]
    return next((choice for choice in choices if choice.fits), choices[-1])


def heaviest(config: Experiment, networks: Networks, recompute: bool | None = None) -> dict[str, Memory]:
    """Memory of those parts of the training of which one takes the most: no other trains as much of as large a network.

    Args:
        config: of the experiment.
        networks: that it builds.
        recompute: in place of `train.recompute`, unless None.
    """
    widest: dict[Part, tuple[Stage, Trainable]] = {}
    for stage in stages(config.train):
        widest[stage.part] = stage, max((phase.trainable for phase in stage.phases), key=_WIDER.index)
    if "final" in widest and widest["final"][1] == "all":
        widest = {"final": widest["final"]}
    return {
        f"{stage.name} ({which})": estimate_part(config, networks, part, which, recompute)
        for part, (stage, which) in widest.items()
    }


def estimate_part(
    config: Experiment, networks: Networks, part: Part, which: Trainable, recompute: bool | None = None
) -> Memory:
    """Memory of a step that trains `which` layers of a part."""
    network = set_trainable(networks, part, which)
    recompute = config.train.recompute if recompute is None else recompute
    return estimate(network, networks.final, config.train, config.preprocess.size, recompute)


def fewest(config: Experiment, labels: Any) -> int:
    """Training slices of the stage that has the fewest, from labels (n, 6) in label order."""
    on_positives = any(stage.part == "subtypes" for stage in stages(config.train))
    return int(np.count_nonzero(labels[:, 0])) if on_positives else len(labels)


def replaced(config: Experiment, batch_size: int) -> Experiment:
    """The config with this batch size."""
    return config.model_copy(update={"train": config.train.model_copy(update={"batch_size": batch_size})})


def _settings(config: Experiment) -> dict[str, Any]:
    """What the memory depends on; another of these is another choice."""
    train = config.train.model_dump(mode="json")
    names = ("model", "backbones", "heads", "accumulation", "recompute", "precision", "augmentation", "end_to_end")
    settings: dict[str, Any] = {name: train[name] for name in names}
    phases = [[phase["epochs"], phase["trainable"]] for phase in train["phases"]]
    return settings | {"phases": phases, "size": config.preprocess.size}
