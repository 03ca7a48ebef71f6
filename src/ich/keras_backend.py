"""Chooses Keras's backend, and where JAX keeps compiled networks; `import ich` does it before Keras is imported.

Keras reads KERAS_BACKEND once, when it is first imported, and stops if it names nothing and TensorFlow is missing.
Compiling takes longer than the demo's epochs and minutes for the full networks on a GPU; kept on disk, it is done once:
in the workspace by train and evaluate (`keep_compiled_in`), in the user's cache by what has no workspace. To start
anew (a new driver, a result that is slower than it was), delete the folder. Values that the user has set stay;
JAX_ENABLE_COMPILATION_CACHE=false switches the cache off.
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
# JAX leaves out what took less than a second to compile; a start consists of hundreds of those.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
_default: str | None = None
with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written to: no cache
    _default = str(_compilation_cache())
# Ours is inherited by the processes that we start; it is no choice of the user's there.
_chosen_by_user = os.environ.get("JAX_COMPILATION_CACHE_DIR", _default) != _default
if _default is not None:
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _default)


def keep_compiled_in(folder: Path) -> None:
    """From now on, keep compiled networks in this folder, by kind of machine, unless the user has named another."""
    if _chosen_by_user or os.environ["KERAS_BACKEND"] != "jax":
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    from ich.xla import machine

    of_this_machine = folder / machine()
    of_this_machine.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(of_this_machine))
    compilation_cache.reset_cache()  # else it stays where it was when something was first compiled
