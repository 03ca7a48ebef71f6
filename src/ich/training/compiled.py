"""Compiled training steps on disk: the second start of a training neither traces nor compiles what the first one did.

JAX's own cache (`ich.keras_backend`) spares the compiling only; tracing and lowering a network of Keras's again takes
longer than loading the program does. The files are programs, as JAX's are: in a workspace of somebody whom you do not
trust, delete the folder.
"""

import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import keras
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

import ich
from ich.files import atomic, fingerprint
from ich.training.step import Batch, Learner
from ich.xla import autotuning_kept, compiler_options, machine

_KEPT = 20  # steps, of tens of MB each; a training has one for each phase of each stage


def compile_step(
    learner: Learner, batch: Batch, folder: Path | None, depends_on: Any
) -> tuple[jax.stages.Compiled, bool]:
    """A learner's step, from the folder if it is there, else compiled and put there.

    Args:
        learner: whose step it is.
        batch: of the shapes to compile for.
        folder: of compiled steps; None: it is compiled and not kept. Nor is one that several processes share.
        depends_on: JSON: all that changes the program, but for versions, devices and shapes.

    Returns:
        The step, and whether it was there.
    """
    if folder is None or jax.process_count() > 1:
        return learner.compile(batch), False
    path = folder / f"step-{_key(batch, depends_on)}.bin"
    if (step := _load(path)) is not None:
        return step, True
    with _without_jaxs_cache():
        step = learner.compile(batch, **autotuning_kept())
    with contextlib.suppress(ValueError, TypeError, AttributeError, jax.errors.JaxRuntimeError):  # not on this backend
        content = pickle.dumps(serialize_executable.serialize(step))
        with atomic(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
        _prune(folder)
    return step, False


@contextlib.contextmanager
def _without_jaxs_cache() -> Iterator[None]:
    """In this block JAX compiles: what it has from its cache lacks, on a CPU, the functions when it is saved again.

    Its settings are those of a whole process.
    """
    before = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # it asks once whether there is one
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _load(path: Path) -> jax.stages.Compiled | None:
    """None for one that is not there or is damaged."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        step = serialize_executable.deserialize_and_load(*pickle.loads(content[32:]))
    except Exception:  # whatever is wrong with it: it can be compiled again
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # it is in use: see _prune
    return step


def _prune(folder: Path) -> None:
    """Remove all steps but those used last: each version of the code, and each batch size, leaves its own."""
    used: list[tuple[float, Path]] = []
    for path in folder.glob("step-*.bin"):
        with contextlib.suppress(FileNotFoundError):  # another command removes it
            used.append((path.stat().st_mtime, path))
    for _, path in sorted(used, reverse=True)[_KEPT:]:
        path.unlink(missing_ok=True)


def _key(batch: Batch, depends_on: Any) -> str:
    shapes = [[list(array.shape), str(array.dtype)] for array in jax.tree.leaves(batch)]
    versions = [metadata.version(name) for name in ("jax", "jaxlib", "keras")]
    flags = sorted((name, value) for name, value in os.environ.items() if name.startswith(("XLA_", "JAX_")))
    flags = [flag for flag in flags if "CACHE" not in flag[0]]
    content = [
        shapes,
        machine(),
        versions,
        flags,
        keras.config.floatx(),
        keras.config.epsilon(),
        compiler_options(),
        _sources(),
        depends_on,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _sources() -> list[str]:
    """Of this package: a step that another version of the code compiled is another step."""
    package = Path(ich.__file__).parent
    parts = ("augmentation.py", "devices.py", "xla.py", "models", "training")
    files = [file for part in parts for file in sorted((package / part).rglob("*.py")) or [package / part]]
    return [fingerprint(file) for file in files]
