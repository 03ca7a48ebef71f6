"""What to do about errors that are not ours but the machine's: full disks, lacking permissions, memory, devices."""

import errno
import os

_OUT_OF_MEMORY = (
    "out of memory; in training halve train.batch_size and double train.accumulation, or set train.recompute: true or "
    "train.batch_size: auto; in preparation set preprocess.workers: 1 (docs/troubleshooting.md says what else helps)"
)
# Of XLA, CUDA, cuDNN and cuBLAS: what they say where the device's memory does not suffice.
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "STATUS_ALLOC_FAILED")


def what_to_do_about_file(error: OSError) -> str:
    """What went wrong with a file, and what to do about it."""
    where = error.filename2 or error.filename or "the workspace"  # the second is what is written, of two
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        writing = f" while writing {where}" if error.filename else ""
        return f"the disk is full{writing}; free space (`ich info -c CONFIG` tells how much) and run again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for {where}; change its permissions, or choose another --workspace"
    return f"{where}: {os.strerror(error.errno) if error.errno else error}"


def what_to_do(error: Exception) -> str | None:
    """What to do about an error of Python, Keras or JAX that is the machine's or the environment's; None for a bug."""
    backend = os.environ.get("KERAS_BACKEND")
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY):
        return _OUT_OF_MEMORY
    if (isinstance(error, ModuleNotFoundError) and error.name == backend) or "Unable to import backend" in str(error):
        return f"KERAS_BACKEND is {backend}, which is not installed; install it, or unset KERAS_BACKEND"
    if "Unable to initialize backend" in str(error):
        return f"JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS')}, but there is no such device; unset JAX_PLATFORMS"
    return None
