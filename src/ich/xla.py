"""How XLA compiles networks."""

from functools import cache

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
