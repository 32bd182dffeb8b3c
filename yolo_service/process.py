"""What is set for the whole process, so that it is fast and gives back what it does not need."""

from __future__ import annotations

import ctypes
import platform

import cv2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = 256 << 20


def tune() -> None:
    """Prepare for pictures that are computed side by side, each by one thread.

    glibc is told to keep the memory of decoded pictures instead of giving it back after each:
    asking the kernel for it again costs a page fault per 4 KB, a tenth of the throughput.
    """
    cv2.setNumThreads(1)
    if libc := _glibc():
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(parameter, _KEPT)


def give_back_memory() -> None:
    """Give freed memory back to the system; for when much was freed, as after loading a model."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
