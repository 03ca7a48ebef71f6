"""Checkpoints of a stage in progress: one after each epoch, from which a training that was killed goes on.

    runs/<name>/checkpoints/7.json    what epoch 7 ended with: counters, history, SHA-256 of the other file
                            7.npz     variables of network and optimizer, and the best weights so far

A checkpoint counts from the moment in which its JSON file is there, which is written last. The last two are kept, each
complete in itself, so that there is another where one is damaged.
"""

import contextlib
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.errors import DataError, one_line
from ich.files import atomic, fingerprint, read_json, sweep_half_written, write_json

_KEPT = 2

Arrays = list[NDArray[np.generic]]


@dataclass(frozen=True)
class Progress:
    """Where a stage is at the end of an epoch, but for its arrays.

    Attributes:
        stage: its name.
        phase: index of the phase in `Stage.phases`.
        epoch: epochs that the stage has had.
        schedule: of the phase (`ich.training.schedule.Schedule.as_json`).
        history: rows of the stage.
        best_loss: the lowest validation loss of the stage so far.
    """

    stage: str
    phase: int
    epoch: int
    schedule: dict[str, Any]
    history: list[dict[str, Any]]
    best_loss: float


@dataclass(frozen=True)
class Checkpoint:
    """A stage at the end of an epoch.

    Attributes:
        progress: see there.
        variables: of network and optimizer, now.
        best: weights of the network when the validation loss was lowest.
        sha256: of the file with the arrays, where it was read from one.
    """

    progress: Progress
    variables: Arrays
    best: Arrays
    sha256: str = ""


class Checkpoints:
    """The checkpoints of one training, in a folder of their own that need not be there."""

    def __init__(self, folder: Path, training: str, tell: Callable[[str], object]) -> None:
        """Look at a folder.

        Args:
            folder: see the module.
            training: key of all that the weights depend on; checkpoints of another training are not used.
            tell: takes a message for the user.
        """
        self.folder, self.training, self.tell = folder, training, tell

    def write(self, checkpoint: Checkpoint) -> None:
        """Keep one, and the one before it."""
        epoch = checkpoint.progress.epoch
        path = self.folder / f"{epoch}.npz"
        named = {f"variable_{i}": array for i, array in enumerate(checkpoint.variables)}
        named |= {f"best_{i}": array for i, array in enumerate(checkpoint.best)}
        with atomic(path) as temporary:
            with temporary.open("wb") as file:
                np.savez(file, **named)  # type: ignore[arg-type]  # its flag allow_pickle stands in the way
            digest = fingerprint(temporary)
        content = {"training": self.training, "sha256": digest, "progress": asdict(checkpoint.progress)}
        write_json(self.folder / f"{epoch}.json", content)
        kept = {str(number) for number in range(epoch - _KEPT + 1, epoch + 1)}
        for path in self._files():
            if path.stem not in kept:
                path.unlink()

    def newest(self, stage: str) -> Checkpoint | None:
        """The newest whole one of a stage of this training; None where there is none."""
        for path in sorted(self.folder.glob("*.json"), key=lambda path: (len(path.stem), path.stem), reverse=True):
            try:
                content = read_json(path)
                if (content["training"], content["progress"]["stage"]) == (self.training, stage):
                    return _read(path, content)
            except (DataError, LookupError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
                self.tell(f"checkpoint {path} cannot be used ({one_line(error)}); looking for the one before it")
        return None

    def stages(self) -> set[str]:
        """Names of the stages of this training that have one."""
        found = set()
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(DataError, LookupError, TypeError):
                content = read_json(path)
                if content["training"] == self.training:
                    found.add(content["progress"]["stage"])
        return found

    def clear(self) -> None:
        """Remove all of them."""
        for path in self._files():
            path.unlink()
        sweep_half_written(self.folder)
        with contextlib.suppress(OSError):  # it is not there, or holds what is not ours
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        return [*self.folder.glob("*.json"), *self.folder.glob("*.npz")]


def _read(path: Path, content: dict[str, Any]) -> Checkpoint:
    arrays = path.with_suffix(".npz")
    if fingerprint(arrays) != content["sha256"]:
        raise DataError(f"{arrays.name} is not as it was written")
    with np.load(arrays) as named:
        variables, best = (_numbered(named, kind) for kind in ("variable", "best"))
    return Checkpoint(Progress(**content["progress"]), variables, best, content["sha256"])


def _numbered(named: Any, kind: str) -> Arrays:
    count = sum(name.startswith(f"{kind}_") for name in named.files)
    return [named[f"{kind}_{number}"] for number in range(count)]
