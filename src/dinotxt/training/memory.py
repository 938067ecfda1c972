"""What a training process does with memory that its tensors give back."""

import ctypes

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt
_LARGEST = 32 << 20  # bytes; glibc takes no larger threshold


def keep_freed_memory(device: torch.device) -> None:
    """Let the C library keep what tensors on the CPU free, for the next step.

    By default glibc returns every large block, and the system clears its pages again at each step.
    Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if device.type == "cpu" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, _LARGEST)
