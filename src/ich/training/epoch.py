"""One epoch: step after step, without waiting for any of them but to keep the device from being flooded."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray

from ich.training.step import Batch, State, Step, StepResult

# Steps that are handed to the device before the result of the first of them is looked at. With one, the device waits
# for the host after each step; more would only hold more batches in its memory.
_AHEAD = 2


@dataclass(frozen=True)
class Epoch:
    """What an epoch told.

    Attributes:
        losses: (steps,) float32, of each step before its update.
        probabilities: (images, k) float32, in the order in which the images came.
        seconds: by the clock.
        waiting: seconds in which no batch was ready.
    """

    losses: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    seconds: float
    waiting: float

    @property
    def images_per_s(self) -> float:
        """Speed of training, without validation."""
        return len(self.probabilities) / self.seconds


class NotFinite(ArithmeticError):
    """The loss of a step became infinite or undefined."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"loss {loss} in step {step}")
        self.step, self.loss = step, loss


def run_epoch(
    step: Step,
    state: State,
    batches: Iterator[Batch],
    steps: int,
    learning_rate: Callable[[int], float],
    advance: Callable[[int], object] = int,
) -> tuple[State, Epoch]:
    """Do the steps of an epoch.

    Args:
        step: compiled; takes the arrays of the state that it is given.
        state: before the epoch.
        batches: at least `steps` of them; no more are taken.
        steps: at least 1.
        learning_rate: of each step, counted from 0.
        advance: called with 1 after each step; what it raises ends the epoch.

    Raises:
        NotFinite: soon after the step (counted from 0) whose loss was not finite.
    """
    losses: list[float] = []
    probabilities: list[NDArray[np.float32]] = []
    under_way: deque[StepResult] = deque()

    def look() -> None:
        result = under_way.popleft()
        losses.append(float(result.loss))
        if not math.isfinite(losses[-1]):
            raise NotFinite(len(losses) - 1, losses[-1])
        found = np.asarray(result.probabilities)
        probabilities.append(found.reshape(-1, found.shape[-1]))
        advance(1)

    started, waiting = time.perf_counter(), 0.0
    for number in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waiting += time.perf_counter() - asked
        state, result = step(state, np.float32(learning_rate(number)), batch)
        under_way.append(result)
        if len(under_way) > _AHEAD:
            look()
    while under_way:
        look()
    jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    return state, Epoch(np.array(losses, np.float32), np.concatenate(probabilities), seconds, waiting)
