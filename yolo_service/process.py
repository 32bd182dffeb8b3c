"""What is set for the whole process, so that it is fast and gives back what it does not need."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from contextlib import suppress

import cv2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT = 256 << 20

STEP_BACK = 5
"""In steps of nice(2): a third of the share of the loop and of other programs, where all want
more than there is."""


def tune() -> None:
    """Prepare for images that are computed side by side, each by one thread.

    glibc is told to keep the memory of decoded images instead of giving it back after each:
    asking the kernel for it again costs a page fault per 4 KB, a tenth of the throughput. And
    to keep it in one place for all threads, not in one for each: they ask it for large pieces and
    rarely.
    """
    cv2.setNumThreads(1)
    if libc := _glibc():
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(parameter, _KEPT)
        libc.mallopt(_M_ARENA_MAX, 1)


def step_back() -> None:
    """Let the calling thread, and those that it starts, come behind the loop where CPUs are short.

    Requests that arrive while all CPUs compute would otherwise wait for seconds only to hear that
    there is no room for them. On Linux only: elsewhere a thread has no priority of its own.
    """
    if sys.platform == "linux":
        priority = os.getpriority(os.PRIO_PROCESS, os.getpid()) + STEP_BACK
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), priority)


def give_back_memory() -> None:
    """Give freed memory back to the system; for when much was freed, as after loading a model."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
