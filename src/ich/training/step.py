"""One training step, compiled as a whole: augment, predict, differentiate, update.

JAX by name, and not Keras's `fit`: the state goes into a step and comes out of it, so that a checkpoint can hold all
of it, and nothing in a step waits for the host. (`fit` keeps the state of its callbacks to itself, and lost 8 % of the
bare step's images/s on one H100.) The networks, losses and optimizers are Keras's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from ich.augmentation import Draws, apply, mix
from ich.config import TrainingAugmentation
from ich.devices import everywhere, on_each
from ich.models.initialize import numpy_initializers
from ich.precision import computes_on_cpu
from ich.xla import compiler_options

Loss = Callable[[Any, Any], Any]

_WRITTEN_OUT = 8  # parts, on a CPU


class State(NamedTuple):
    """All that a step changes, as device arrays; a pytree."""

    trainable: list[jax.Array]
    non_trainable: list[jax.Array]  # batch-norm statistics, frozen weights, states of dropout's generators
    optimizer: list[jax.Array]  # moments, iterations, learning rate, loss scale
    averaged: list[jax.Array]  # moving averages of the trainable weights; empty where there are none


class Batch(NamedTuple):
    """What a step learns from: m parts of n images, whose gradients are averaged. NumPy or device arrays."""

    images: Any  # (m, n, size, size, 3) uint8
    draws: Draws  # each field (m, n)
    targets: Any  # (m, n, k) float32, 0 or 1; mixed in the step, if at all


class StepResult(NamedTuple):
    """What a step tells."""

    loss: jax.Array  # () float32: mean over images, with the penalties of regularizers
    probabilities: jax.Array  # (m, n, k) float32, of the images as augmented and mixed, before the update


Step = Callable[[State, np.float32, Batch], tuple[State, StepResult]]


class Learner:
    """A network with what it takes to train it for one phase; it shares the network's weights.

    Choose what is trainable before (`ich.models.build.set_trainable`): it is fixed here.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: Loss,
        augmentation: TrainingAugmentation,
        recompute: bool = False,
        ema: float = 0,
    ) -> None:
        """Build the optimizer; moving averages of the weights start from the weights.

        Args:
            network: images to probabilities (n, k).
            optimizer: new.
            loss: of targets and probabilities (n, k), to losses (n,).
            augmentation: that the draws of the batches were made with.
            recompute: keep only the results of convolutions and dense layers for the backward pass, and compute the
                rest of the forward pass again there: less memory, more time.
            ema: decay of the moving averages; 0 for none. Batch-norm statistics, which are averages already, have none.
        """
        self.network, self.optimizer, self.loss = network, optimizer, loss
        self.augmentation, self.recompute, self.ema = augmentation, recompute, ema
        with numpy_initializers(0):  # for its zeros
            optimizer.build(network.trainable_variables)
        self._rate, self._count = (
            [each is variable for each in optimizer.variables].index(True)
            for variable in (optimizer.learning_rate, optimizer.iterations)
        )
        # Copies, since a step takes the arrays of its state away.
        self._averages = [keras.Variable(np.array(each), dtype=each.dtype) for each in self._averaged_variables]

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of network and optimizer, in an order that does not depend on what is trainable; averages."""
        return [*self.network.variables, *self.optimizer.variables, *self._averages]

    def state(self) -> State:
        """The state as it is in network and optimizer. A step takes its arrays away: `store` what it returns."""
        return on_each(State(*([variable.value for variable in part] for part in self._parts)))

    def store(self, state: State) -> None:
        """Put a state into network and optimizer."""
        for variables, values in zip(self._parts, state, strict=True):
            assign(variables, values)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within a block, the network has the averaged weights, to be validated and saved; its own where none are."""
        own = [variable.value for variable in self._averaged_variables]
        assign(self._averaged_variables, [variable.value for variable in self._averages])
        try:
            yield
        finally:
            assign(self._averaged_variables, own)

    def compile(self, batch: Batch, **options: str | bool) -> jax.stages.Compiled:
        """`step` (a `Step`) for batches of this shape. The state that it is called with cannot be used afterwards."""
        jitted = jax.jit(self.step, donate_argnums=0, out_shardings=everywhere())
        lowered = jitted.lower(self.state(), np.float32(0), batch)
        return lowered.compile(compiler_options() | options)

    def step(self, state: State, learning_rate: Any, batch: Batch) -> tuple[State, StepResult]:
        """One update; traceable.

        Args:
            state: before it.
            learning_rate: of this step.
            batch: to learn from.
        """
        optimizer = [*state.optimizer]
        optimizer[self._rate] = learning_rate
        differentiate = jax.grad(self._forward, has_aux=True)

        def add_part(total: Any, part: Batch) -> Any:
            non_trainable, sums = total
            gradients, (loss, probabilities, non_trainable) = differentiate(
                state.trainable, non_trainable, optimizer, part
            )
            return (non_trainable, jax.tree.map(jnp.add, sums, gradients)), StepResult(loss, probabilities)

        parts = len(batch.targets)
        start = (state.non_trainable, [jnp.zeros_like(weight) for weight in state.trainable])
        (non_trainable, sums), results = _over_parts(add_part, start, batch)
        gradients = [each / parts for each in sums] if parts > 1 else sums
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, state.trainable)
        after = State(trainable, non_trainable, optimizer, self._average(state.averaged, trainable, optimizer))
        return after, StepResult(results.loss.mean(), results.probabilities)

    def _average(self, averaged: list[Any], trainable: list[Any], optimizer: list[Any]) -> list[Any]:
        """The moving averages after an update.

        Over the first steps t of a phase the decay is (1 + t) / (10 + t), as TensorFlow's: weights that the phase began
        with would else stay in the average of a short one.
        """
        if not self.ema:
            return []
        t = optimizer[self._count].astype(jnp.float32)
        decay = jnp.minimum(self.ema, (1 + t) / (10 + t))
        return [decay * old + (1 - decay) * new for old, new in zip(averaged, trainable, strict=True)]

    @property
    def _averaged_variables(self) -> list[keras.Variable]:
        return self.network.trainable_variables if self.ema else []

    @property
    def _parts(self) -> tuple[list[keras.Variable], ...]:
        """Variables of the fields of `State`."""
        network = self.network
        return network.trainable_variables, network.non_trainable_variables, self.optimizer.variables, self._averages

    def _forward(self, trainable: Any, non_trainable: Any, optimizer: Any, part: Batch) -> Any:
        """The loss to differentiate, and beside it the loss, the probabilities and what the forward pass changed."""
        images, targets = apply(part.images, part.draws, self.augmentation), part.targets
        if self.augmentation.mixup:
            images, targets = (mix(values, part.draws.own_share) for values in (images, targets))

        def call(trainable: Any, non_trainable: Any) -> Any:
            return self.network.stateless_call(trainable, non_trainable, images, training=True, return_losses=True)

        if self.recompute:
            call = jax.checkpoint(call, policy=_is_product)
        probabilities, non_trainable, penalties = call(trainable, non_trainable)
        loss = jnp.mean(self.loss(targets, probabilities)) + sum(penalties)
        scope = list(zip(self.optimizer.variables, optimizer, strict=True))
        with keras.StatelessScope(state_mapping=scope):  # the loss scale is one of these variables
            scaled = self.optimizer.scale_loss(loss)
        return scaled, (loss, probabilities, non_trainable)


def _over_parts(function: Callable[[Any, Any], Any], start: Any, batch: Batch) -> Any:
    """`jax.lax.scan` over the parts of a batch; written out where a loop would cost more than it saves.

    In a loop, even of one round, XLA computes convolutions on a CPU at an eighth of their speed (LAB_BOOK.md,
    2026-11-27); but written out, each part takes time to compile and memory.
    """
    parts = len(batch.targets)
    if parts > (_WRITTEN_OUT if computes_on_cpu() else 1):
        return jax.lax.scan(function, start, batch)
    results = []
    for number in range(parts):
        start, result = function(start, jax.tree.map(lambda array, number=number: array[number], batch))
        results.append(result)
    return start, jax.tree.map(lambda *each: jnp.stack(each), *results)


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    """What is worth keeping for the backward pass: the rest is cheap to compute again."""
    return primitive.name in ("conv_general_dilated", "dot_general")


# Variables of Keras's layers that are no products' weights: biases, scales and offsets of normalisation, and the scale
# of ConvNeXt's residual branches.
_NOT_DECAYED = ["^bias$", "^gamma$", "^beta$"]


def adam(compute_dtype: str, weight_decay: float = 0) -> keras.optimizers.Optimizer:
    """Adam; in float16 with a loss scale that adapts itself, as small gradients would become 0.

    With weight decay it is AdamW (Loshchilov and Hutter, ICLR 2019), which spares biases and normalisation. Its
    learning rate is given to it with each step.
    """
    optimizer = keras.optimizers.AdamW(weight_decay=weight_decay) if weight_decay else keras.optimizers.Adam()
    if weight_decay:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return keras.optimizers.LossScaleOptimizer(optimizer) if compute_dtype == "float16" else optimizer


def arrays(variables: list[keras.Variable]) -> list[NDArray[np.generic]]:
    """Values of variables, on the host."""
    return [np.asarray(variable.value) for variable in variables]


def assign(variables: list[keras.Variable], values: Sequence[Any]) -> None:
    """Give variables their values, arrays of the host or the device.

    Raises:
        ValueError: number or shapes differ.
    """
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
