"""How XLA compiles networks, and for which machine."""

import hashlib
import os
from functools import cache
from pathlib import Path

import jax

# What goes into a CUDA graph. XLA leaves convolutions out, of which these networks have hundreds: each one ends a
# graph, and what is left are some thousand launches, one by one.
_IN_GRAPHS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,DYNAMIC_SLICE_FUSION,CONVOLUTION"


@cache
def compiler_options() -> dict[str, str | bool]:
    """For `jax.jit` and `compile`: on an NVIDIA GPU, a step is launched as one CUDA graph; nothing elsewhere."""
    return {"xla_gpu_enable_command_buffer": _IN_GRAPHS} if _is_cuda() else {}


def cache_folder() -> Path | None:
    """Where JAX keeps what it compiles; None where it keeps nothing."""
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return Path(folder) if folder and jax.config.jax_enable_compilation_cache else None  # type: ignore[attr-defined]


def autotuning_kept() -> dict[str, str | bool]:
    """For `compile` without JAX's own cache: on a GPU, XLA's notes of which kernels were fastest are used all the same.

    They lie where JAX has them.
    """
    folder, name = cache_folder(), "xla_gpu_per_fusion_autotune_cache_dir"
    return {name: str(folder / name)} if _is_cuda() and folder else {}


@cache
def machine() -> str:
    """A name for what compiled programs depend on: devices, their software, the processor's instructions and cores.

    JAX's own keys leave the processor out, and a program for one with more instructions ends the process on another.
    """
    devices = [f"{device.platform} {device.device_kind}" for device in jax.devices()]
    flags = Path("/proc/cpuinfo")
    processor = next((line for line in _lines(flags) if line.startswith(("flags", "Features"))), "")
    content = [*devices, jax.devices()[0].client.platform_version, processor, str(os.cpu_count())]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]


def _is_cuda() -> bool:
    device = jax.devices()[0]
    return bool(device.platform == "gpu" and "cuda" in device.client.platform_version.lower())


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
