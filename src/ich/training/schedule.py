"""Learning rate and end of a phase, from the validation losses of its epochs: plain numbers, for a checkpoint to hold.

What Keras's ReduceLROnPlateau and EarlyStopping do; those keep their counters to themselves, so that a training that
was cut off would begin to count anew.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from ich.config import EarlyStopping, Phase, Plateau


@dataclass
class Patience:
    """Counts the epochs since a loss was lowered by more than `least`."""

    patience: int
    least: float
    lowest: float = math.inf
    waited: int = 0

    def ran_out(self, loss: float) -> bool:
        """Whether this epoch's loss makes it `patience` epochs without a lower one."""
        if loss < self.lowest - self.least:
            self.lowest, self.waited = loss, 0
            return False
        self.waited += 1
        return self.waited >= self.patience


class Schedule:
    """Of one phase.

    Attributes:
        learning_rate: of the first step of the next epoch.
        epochs: done.
        is_over: whether the phase has ended.
    """

    def __init__(
        self,
        phase: Phase,
        plateau: Plateau,
        early_stopping: EarlyStopping,
        kind: Literal["plateau", "cosine"] = "plateau",
        steps: int = 1,
    ) -> None:
        """Begin.

        Args:
            phase: its epochs and learning rate.
            plateau: of kind `plateau`, and the least learning rate of either.
            early_stopping: of either kind.
            kind: `train.schedule`.
            steps: of an epoch.
        """
        self.phase, self.plateau, self.kind, self.steps = phase, plateau, kind, steps
        self.learning_rate, self.epochs, self._stopped = phase.learning_rate, 0, False
        self._standing_still = Patience(plateau.patience, plateau.min_delta)
        self._stopping = Patience(early_stopping.patience, 0)

    @property
    def is_over(self) -> bool:
        """See the class."""
        return self._stopped or self.epochs >= self.phase.epochs

    def rate_at(self, step: int) -> float:
        """Learning rate of a step of the next epoch, counted from 0.

        The cosine is that of Loshchilov and Hutter (ICLR 2017), without restarts.
        """
        if self.kind == "plateau":
            return self.learning_rate
        least = min(self.plateau.min_learning_rate, self.phase.learning_rate)
        share = (self.epochs * self.steps + step) / (self.phase.epochs * self.steps)
        return least + (self.phase.learning_rate - least) * (1 + math.cos(math.pi * share)) / 2

    def after_epoch(self, val_loss: float) -> None:
        """Take an epoch's validation loss into account."""
        self.epochs += 1
        self._stopped = self._stopping.ran_out(val_loss)
        if self.kind == "cosine":
            self.learning_rate = self.rate_at(0)
        elif self._standing_still.ran_out(val_loss) and self.learning_rate > self.plateau.min_learning_rate:
            self.learning_rate = max(self.learning_rate * self.plateau.factor, self.plateau.min_learning_rate)
            self._standing_still.waited = 0

    def as_json(self) -> dict[str, Any]:
        """All that changes."""
        counters = {
            name: [each.lowest if math.isfinite(each.lowest) else None, each.waited]
            for name, each in self._counters.items()
        }
        return {"learning_rate": self.learning_rate, "epochs": self.epochs, "stopped": self._stopped, **counters}

    def restore(self, content: dict[str, Any]) -> None:
        """Take over what `as_json` gave."""
        self.learning_rate, self.epochs = content["learning_rate"], content["epochs"]
        self._stopped = content["stopped"]
        for name, each in self._counters.items():
            lowest, each.waited = content[name]
            each.lowest = math.inf if lowest is None else lowest

    @property
    def _counters(self) -> dict[str, Patience]:
        return {"plateau": self._standing_still, "early_stopping": self._stopping}
