"""Decoding in a process of its own, which is killed when it takes too long or too much memory.

The time and memory that a decoder takes for an arbitrary file cannot be known from its header, and
native code cannot be interrupted in a thread. So what ``image_header`` does not find plain is
decoded here. A process is started for the first such image and used again for the next ones.

The encoded file and the pixels are passed as files in memory, whose descriptors are sent over a
socket, so neither is copied by Python. Where the system has no such files (Windows), the image is
decoded in this process.
"""

from __future__ import annotations

import atexit
import logging
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np

from darknet.model import RgbImage
from yolo_service.errors import Unavailable
from yolo_service.images.opencv import decode_by_opencv

log = logging.getLogger(__name__)

WAIT_SECONDS = 10.0
"""How long an image is waited for. The process itself ends after ``MAX_CPU_SECONDS``, which on a
busy machine come later than on an idle one."""
START_SECONDS = 30.0
"""Longest that the process may take to start, on a busy machine."""

REQUEST = struct.Struct("<QQ")
"""Bytes of the file, and of the pixels by its header."""
REPLY = struct.Struct("<II")
"""Height and width of the decoded image; 0, 0 if it cannot be decoded."""
READY = b"r"

IS_SUPPORTED = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")


class DecoderProcesses:
    """As many processes as images that are decoded at once."""

    def __init__(self) -> None:
        self._idle: list[_DecoderProcess] = []
        self._lock = threading.Lock()
        atexit.register(self.close)

    def decode(self, data: bytes, pixels_bytes: int) -> RgbImage | None:
        """Decode an image to upright RGB of full size; blocks the calling thread.

        Args:
            data: the encoded file.
            pixels_bytes: of the decoded image by its header.

        Returns:
            uint8[height, width, 3]; None if it is damaged, or needs more time or memory than is
            allowed.

        Raises:
            Unavailable: no process can be started now.
        """
        if not IS_SUPPORTED:
            return decode_by_opencv(data)
        process = self._take()
        try:
            pixels = process.decode(data, pixels_bytes)
        except (OSError, ValueError, struct.error) as error:
            log.info("a decoder process was killed: %s", str(error) or type(error).__name__)
            process.kill()
            return None
        except BaseException:
            process.kill()
            raise
        with self._lock:
            self._idle.append(process)
        return pixels

    def _take(self) -> _DecoderProcess:
        """Return an idle process that is still there, or a new one."""
        with self._lock:
            while self._idle:
                if (process := self._idle.pop()).is_alive():
                    return process
                process.kill()
        try:
            return _DecoderProcess()
        except OSError as error:
            log.error("a decoder process cannot be started: %s", error)
            raise Unavailable(
                f"the image needs a decoder process, which cannot be started ({error}); try again, "
                "or send the image as JPEG or PNG"
            ) from error

    def close(self) -> None:
        """End the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()


class _DecoderProcess:
    """One process and the socket to it."""

    def __init__(self) -> None:
        """Start a process and wait until it is ready.

        Raises:
            OSError: it cannot be started, ended at once or is not ready in ``START_SECONDS``.
        """
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start(theirs)
        except BaseException:
            self._socket.close()
            raise
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self) -> None:
        self._socket.settimeout(START_SECONDS)
        if self._socket.recv(len(READY)) != READY:
            raise OSError(f"it ended with exit status {self._process.wait()}")

    def decode(self, data: bytes, pixels_bytes: int) -> RgbImage | None:
        """Decode a file; None if it cannot be decoded.

        Raises:
            OSError: it took too long, or the process ended.
            struct.error: the process ended.
            ValueError: the process answered what cannot be.
        """
        source, target = os.memfd_create("encoded"), os.memfd_create("pixels")
        try:
            _write(source, data)
            self._socket.settimeout(WAIT_SECONDS)
            request = REQUEST.pack(len(data), pixels_bytes)
            socket.send_fds(self._socket, [request], [source, target])
            height, width = REPLY.unpack(self._socket.recv(REPLY.size))
            return _mapped(target, height, width) if height else None
        finally:
            os.close(source)
            os.close(target)

    def is_alive(self) -> bool:
        """Return whether the process has not ended, as by the kernel when memory is short."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._socket.close()
        self._process.kill()
        with suppress(OSError):
            self._process.wait()


def _start(connection: socket.socket) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "yolo_service.images.decoder_process"]
    return subprocess.Popen(  # noqa: S603 - this Python with a module of ours
        [*command, str(connection.fileno())],
        pass_fds=[connection.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _mapped(file: int, height: int, width: int) -> RgbImage:
    """Return the pixels in a file in memory; the memory is freed with the array."""
    memory = mmap.mmap(file, 3 * height * width)
    return np.frombuffer(memory, np.uint8).reshape(height, width, 3)
