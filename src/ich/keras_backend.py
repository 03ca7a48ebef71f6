"""Chooses Keras's backend, and where JAX keeps compiled networks; `import ich` does it before Keras is imported.

Keras reads KERAS_BACKEND once, when it is first imported, and stops if it names nothing and TensorFlow is missing.
Compiling takes longer than the demo's epochs and minutes for the full networks on a GPU; kept on disk, it is done once
a machine. To start anew (a new driver, a result that is slower than it was), delete the folder. Values that the user
has set stay; JAX_ENABLE_COMPILATION_CACHE=false switches the cache off.
"""

import contextlib
import os
from pathlib import Path


def _compilation_cache() -> Path:
    """<user's cache>/ich/jax; made here, because JAX warns of a folder that it cannot make."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ich" / "jax"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


os.environ.setdefault("KERAS_BACKEND", "jax")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written to: no cache
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_compilation_cache())
