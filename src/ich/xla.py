"""How XLA compiles networks."""

from functools import cache
from pathlib import Path

from ich.precision import computes_on_cpu

# What goes into a CUDA graph. XLA leaves convolutions out, of which these networks have hundreds: each one ends a
# graph, and what is left are some thousand launches, one by one.
_IN_GRAPHS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,DYNAMIC_SLICE_FUSION,CONVOLUTION"


@cache
def compiler_options() -> dict[str, str | bool]:
    """For `jax.jit` and `compile`: on an NVIDIA GPU, a step is launched as one CUDA graph; nothing elsewhere."""
    if computes_on_cpu():
        return {}
    return {"xla_gpu_enable_command_buffer": _IN_GRAPHS}


def autotuning_kept() -> dict[str, str | bool]:
    """For `compile` without JAX's own cache: on a GPU, XLA's notes of which kernels were fastest are used all the same.

    They lie where JAX has them.
    """
    import jax

    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if computes_on_cpu() or not folder:
        return {}
    name = "xla_gpu_per_fusion_autotune_cache_dir"
    return {name: str(Path(folder) / name)}
