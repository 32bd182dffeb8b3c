"""What the C code of libdarknet prints: to the log, never between the results of this process."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Event
from typing import Final

_logger = logging.getLogger(__name__)
_inherited: Final = Event()
_UNBUFFERED = 2
"""_IONBF of stdio.h."""


@contextmanager
def c_output_to_log() -> Iterator[None]:
    """Send what C code prints to the log, by replacing libc's ``stdout`` and ``stderr``.

    The file descriptors stay as they are, so Python's output and log are not affected. Only glibc
    allows the assignment; with another libc the output is not redirected, nor is that of C++
    streams. Hold ``LOCK``.
    """
    if _inherited.is_set() or not _on_glibc():
        yield
        return
    libc = ctypes.CDLL(None)
    file, stream = _memory_stream()
    streams = _standard_streams(libc)
    saved = [variable.value for variable in streams]
    for variable in streams:
        variable.value = stream
    try:
        yield
    finally:
        for variable, value in zip(streams, saved, strict=True):
            variable.value = value
        libc.fflush(ctypes.c_void_p(stream))
        _log_and_empty(file)


def inherit_c_output() -> None:
    """Leave the output of C code where it goes, unbuffered, for a process that it may end."""
    _inherited.set()
    if _on_glibc():
        libc = ctypes.CDLL(None)
        for stream in _standard_streams(libc):
            libc.setvbuf(stream, None, _UNBUFFERED, ctypes.c_size_t(0))


def _standard_streams(libc: ctypes.CDLL) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p.in_dll(libc, name) for name in ("stdout", "stderr")]


def _log_and_empty(file: int) -> None:
    if size := os.fstat(file).st_size:
        text = os.pread(file, size, 0)
        os.ftruncate(file, 0)
        for line in text.decode(errors="replace").splitlines():
            _logger.debug("libdarknet: %s", line)


@lru_cache(maxsize=1)
def _on_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


@lru_cache(maxsize=1)
def _memory_stream() -> tuple[int, int]:
    """Return the descriptor of a file in memory, and the address of a C stream that appends to it.

    They are never closed, because C code of another thread may still be writing to the stream.
    """
    file = os.memfd_create("libdarknet")
    fdopen = ctypes.CDLL(None).fdopen
    fdopen.restype = ctypes.c_void_p
    return file, fdopen(file, b"a")
