"""Memory of networks on a CPU: freed memory is kept for the next step instead of going back to the system.

XLA asks for the same large buffers in every step. By default glibc gives such buffers back when they are freed, and the
system fills each page of the next one with zeros: 13,000 to 25,000 page faults a step of the demo's networks, and 15 to
20 % of its time (LAB_BOOK.md).
"""

import ctypes

# mallopt's parameters (malloc.h of glibc) and what they are set to.
_SETTINGS = {
    -8: 1,  # M_ARENA_MAX: one pool for all threads, so that what one frees another can use
    -4: 0,  # M_MMAP_MAX: no buffer gets a mapping of its own, which would end when it is freed
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD, bytes: the end of the pool is not given back
}


def keep_freed_memory() -> bool:
    """Change the settings for the rest of the process; whether they took, which they do with glibc only."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl
        return False
    taken = [mallopt(parameter, value) for parameter, value in _SETTINGS.items()]
    return all(taken)
