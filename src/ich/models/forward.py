"""A network as a compiled function of arrays, for prediction and validation."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Forward = Callable[[list[NDArray[Any]]], list[NDArray[Any]]]


def compile_forward(network: keras.Model) -> Forward:
    """The network as a function of arrays, one an input, to arrays, one an output; compiled once for each shape.

    Which layers are trainable makes no difference to it: training changes that between phases.
    """
    if keras.backend.backend() != "jax":
        return lambda inputs: [np.asarray(output) for output in _as_list(network.predict_on_batch(inputs))]
    # Keras's `predict_on_batch` assigns every variable anew after each batch: 3 ms for EfficientNetV2M's 1,017 (CPU).
    import jax

    variables = network.variables

    @jax.jit
    def forward(values: list[Any], inputs: list[Any]) -> list[Any]:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return _as_list(network(inputs if len(inputs) > 1 else inputs[0], training=False))

    def run(inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        # Read each time: training, and `predict` on the network, replace the variables' arrays and delete the old.
        return [np.asarray(output) for output in forward([v.value for v in variables], inputs)]

    return run


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
