"""How the process asks the operating system for memory."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of mallopt's parameters in glibc's malloc.h


def keep_freed_memory() -> bool:
    """Makes the C library keep what tensors free for the tensors that come next, and says whether it does.

    glibc hands every freed block of some megabytes back to the kernel, which clears each of its pages when it is asked for
    again: in a training step on a CPU, where the same activations and gradients come back at every step, that costs a tenth
    of the time. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
