"""A network as a compiled function of arrays, for prediction and validation."""

from collections.abc import Callable
from typing import Any

import keras

from ich.devices import everywhere, on_each
from ich.xla import compiler_options

Forward = Callable[[list[Any]], list[Any]]


def compile_forward(network: keras.Model, *, shared: bool = False) -> Forward:
    """The network as a function of arrays, one an input, to arrays, one an output; compiled once for each shape.

    Which layers are trainable makes no difference to it: training changes that between phases. Where the backend is
    JAX, what it returns is on the device, and may not be computed yet: `numpy.asarray` waits for it.

    Args:
        network: of Keras.
        shared: all devices, of all processes, compute together: the arrays it is given are `ich.devices.shared_out`,
            and each device has the whole of what it returns.
    """
    if keras.backend.backend() != "jax":
        return lambda inputs: _as_list(network.predict_on_batch(inputs))
    # Keras's `predict_on_batch` assigns every variable anew after each batch: 3 ms for EfficientNetV2M's 1,017 (CPU).
    import jax

    variables = network.variables
    placement = everywhere() if shared else None
    forward = jax.jit(_stateless(network), compiler_options=compiler_options(), out_shardings=placement)

    def call(inputs: list[Any]) -> list[Any]:
        # The values are read each time: training, and `predict` on the network, replace the variables' arrays.
        values = [variable.value for variable in variables]
        if shared and (placed := on_each(values)) is not values:
            for variable, old, new in zip(variables, values, placed, strict=True):
                if new is not old:  # it came from the host, or a file: it stays where it is now
                    variable.assign(new)
            values = placed
        return list(forward(values, inputs))

    return call


def operations(network: keras.Model) -> float | None:
    """Floating-point operations of one row, a multiply-add being two, as XLA counts them; nothing is compiled or run.

    None where the backend is not JAX, or it has no CPU or does not say.
    """
    if keras.backend.backend() != "jax":
        return None
    import jax

    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names others only
        return None
    values = [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for variable in network.variables]
    inputs = [jax.ShapeDtypeStruct((1, *each.shape[1:]), each.dtype) for each in network.inputs]
    with jax.default_device(cpu):  # for a GPU JAX counts only what it has compiled
        counted = jax.jit(_stateless(network)).lower(values, inputs).cost_analysis() or {}
    return float(counted["flops"]) if "flops" in counted else None


def _stateless(network: keras.Model) -> Callable[[list[Any], list[Any]], list[Any]]:
    """The network as a function of the values of its variables, and of its inputs."""
    variables = network.variables

    def forward(values: list[Any], inputs: list[Any]) -> list[Any]:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return _as_list(network(inputs if len(inputs) > 1 else inputs[0], training=False))

    return forward


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
