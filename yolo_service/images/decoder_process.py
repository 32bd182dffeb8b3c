"""The process of ``isolated``: ``python -m yolo_service.images.decoder_process SOCKET``."""

from __future__ import annotations

import math
import mmap
import os
import resource
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from yolo_service.errors import UndecodableImage
from yolo_service.images import png
from yolo_service.images.isolated import READY, REPLY, REQUEST
from yolo_service.images.opencv import decode_by_opencv

MAX_EXTRA_BYTES = 100_000_000
"""Memory that a decoder may take beside the pixels that the header announces."""

MAX_CPU_SECONDS = 2
"""Processor time that an image may take, rounded up to whole seconds by the system."""

NICENESS = 10
"""Requests for plain images come first where CPUs are short."""


def main(connection: socket.socket) -> None:
    """Answer requests until the other end is closed."""
    cv2.setNumThreads(1)
    with suppress(OSError):
        os.nice(NICENESS)
    in_use = _private_bytes()
    connection.sendall(READY)
    while message := _receive(connection):
        length, pixels_bytes, source, target = message
        _limit(resource.RLIMIT_DATA, in_use + pixels_bytes + MAX_EXTRA_BYTES)
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + MAX_CPU_SECONDS)
        try:
            connection.sendall(REPLY.pack(*_decode(source, length, target)))
        finally:
            os.close(source)
            os.close(target)


def _receive(connection: socket.socket) -> tuple[int, int, int, int] | None:
    message, files, _, _ = socket.recv_fds(connection, REQUEST.size, 2)
    return (*REQUEST.unpack(message), *files) if message else None


def _decode(source: int, length: int, target: int) -> tuple[int, int]:
    """Decode one file in memory into another; returns height and width, 0 if it failed."""
    try:
        encoded = os.pread(source, length, 0)
        if encoded.startswith(png.SIGNATURE):
            encoded = png.strip(encoded)
        pixels = decode_by_opencv(encoded)
    except (MemoryError, UndecodableImage):
        return 0, 0
    if pixels is None:
        return 0, 0
    os.ftruncate(target, pixels.nbytes)
    np.copyto(np.frombuffer(mmap.mmap(target, pixels.nbytes), np.uint8), pixels.ravel())
    return pixels.shape[0], pixels.shape[1]


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, resource.RLIM_INFINITY))


def _private_bytes() -> int:
    """Return what counts for RLIMIT_DATA in this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[5]
    return int(pages) * mmap.PAGESIZE


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
