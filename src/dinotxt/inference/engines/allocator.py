"""The memory of a process that runs a model for long: what is freed stays and is used again."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, in one heap for all threads; call it before a model is loaded.

    Otherwise the large maps of every forward pass are asked of the system and given back, which
    costs a quarter of the time in page faults, and every thread grows a heap of its own: memory
    rises with the number of threads and of batch sizes seen.

    Returns:
        Whether the system's allocator is glibc's and took it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = ((_TRIM_THRESHOLD, _KEPT), (_MMAP_THRESHOLD, _KEPT), (_ARENA_MAX, 1))
    taken = [mallopt(option, value) == 1 for option, value in options]
    return all(taken)
