"""Settings of the whole process: memory of glibc, threads of OpenCV, limit of open files."""

from __future__ import annotations

import ctypes
import mmap
import platform
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT_BYTES = 256 << 20


def tune() -> None:
    """Prepare for images that are computed in parallel, each by one thread.

    glibc keeps the memory of decoded images instead of returning it to the kernel: getting it again
    costs a page fault per 4 KB, a tenth of the throughput. All threads share one arena, because
    they rarely allocate, and large blocks.
    """
    import cv2

    cv2.setNumThreads(1)
    if libc := _glibc():
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(parameter, _KEPT_BYTES)
        libc.mallopt(_M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Return freed memory to the system, for example after a model was loaded."""
    if libc := _glibc():
        libc.malloc_trim(0)


def resident_bytes() -> int:
    """Return the memory in use by this process; 0 where the system does not tell it."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * mmap.PAGESIZE


def raise_open_files_limit(wanted: int) -> None:
    """Raise the limit of open files and sockets to ``wanted``, as far as the system allows."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
