"""Which precision to compute in: the `auto` rule of `train.precision`."""

import re
from typing import Any

import keras

# NVIDIA's first compute capability with bfloat16 units (Ampere).
_BFLOAT16_GENERATION = 8


def resolve_precision(precision: str) -> str:
    """A Keras dtype policy.

    Args:
        precision: `auto` is mixed_bfloat16 on a GPU that has it, mixed_float16 on an older GPU, float32 on a CPU; other
            names are taken as they are.
    """
    if precision != "auto":
        return precision
    if keras.backend.backend() != "jax":  # Keras has no question for the device that all backends answer
        return "float32"
    import jax

    return _policy_for(jax.devices()[0])


def computes_on_cpu() -> bool:
    """Whether networks run on the CPU; False where the backend is not JAX, as it is not known then."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return bool(jax.devices()[0].platform == "cpu")


def _policy_for(device: Any) -> str:
    if device.platform != "gpu":
        return "float32"
    generation = re.match(r"\d+", str(getattr(device, "compute_capability", "")))  # "9.0"; AMD's look like "gfx90a"
    older = generation is not None and int(generation[0]) < _BFLOAT16_GENERATION
    return "mixed_float16" if older else "mixed_bfloat16"
