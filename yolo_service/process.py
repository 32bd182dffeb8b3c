"""Settings of the whole process: memory of glibc, threads of OpenCV, limit of open files."""

from __future__ import annotations

import ctypes
import io
import logging
import mmap
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO

_STDOUT = 1
_log = logging.getLogger(__name__)

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


def keep_stdout_for_results() -> None:
    """Give standard output to Python alone; what native code prints there goes to the log.

    Once, while the process has a single thread: a descriptor that is replaced only during a call
    would take along what other threads print meanwhile.
    """
    try:
        if sys.stdout.fileno() != _STDOUT:
            return  # replaced before, by this function or by a test
    except (AttributeError, OSError):
        return  # closed, or no file
    sys.stdout.flush()
    results = os.fdopen(os.dup(_STDOUT), "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        results,
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=results.isatty(),
    )
    reader, writer = os.pipe()
    os.dup2(writer, _STDOUT)
    os.close(writer)
    lines = os.fdopen(reader, encoding="utf-8", errors="replace")
    Thread(target=_log_lines, args=(lines,), name="native output", daemon=True).start()


def _log_lines(lines: IO[str]) -> None:
    for line in lines:
        if text := line.strip():
            _log.info("printed by native code: %s", text)


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
