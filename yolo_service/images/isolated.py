"""Decoding in a process of its own, which is killed when it takes too long or too much memory.

The time and memory that a decoder takes for an arbitrary file cannot be known from its header, and
native code cannot be interrupted in a thread. So what ``image_header`` does not find plain is
decoded here. A process is started for the first such image and used again for the next ones.

The encoded file and the pixels are passed as files in memory, whose descriptors are sent over a
socket, so neither is copied by Python. Where the system has no such files (Windows), the image is
decoded in this process.
"""

from __future__ import annotations

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
from yolo_service.errors import UndecodableImage
from yolo_service.images.opencv import decode_by_opencv

SECONDS = 2.0
"""Longest that an image may take to decode."""
START_SECONDS = 30.0
"""Longest that the process may take to start, on a busy machine."""

REQUEST = struct.Struct("<QQ")
"""Bytes of the file, and of the pixels by its header."""
REPLY = struct.Struct("<II")
"""Height and width of the decoded image; 0, 0 if it cannot be decoded."""
READY = b"r"

IS_SUPPORTED = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")


class DecoderPool:
    """Decoder processes; as many as images that are decoded at once.

    Args:
        seconds: see ``SECONDS``.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._idle: list[_DecoderProcess] = []
        self._lock = threading.Lock()

    def decode(self, data: bytes, kind: str, width: int, height: int) -> RgbImage:
        """Decode an image to upright RGB of full size; see ``images.decode.decode``.

        Args:
            data: the encoded file.
            kind: its format, for messages.
            width: by its header.
            height: by its header.

        Raises:
            UndecodableImage: it is damaged, or needs more time or memory than is allowed.
        """
        if not IS_SUPPORTED:
            pixels = decode_by_opencv(data)
        else:
            pixels = self._decode_in_process(data, kind, width, height)
        if pixels is None:
            raise UndecodableImage(
                f"the {kind} is cut off, damaged, of a rare kind, or needs too much memory; send "
                "the whole file, or save it again as JPEG or PNG"
            )
        return pixels

    def close(self) -> None:
        """End the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    def _decode_in_process(
        self, data: bytes, kind: str, width: int, height: int
    ) -> RgbImage | None:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or _DecoderProcess()
        try:
            pixels = process.decode(data, width, height, self._seconds)
        except (OSError, struct.error) as error:
            process.kill()
            raise UndecodableImage(
                f"the {kind} was not decoded within {self._seconds:g} s or ended the decoder; save "
                "it again as a plain JPEG or PNG"
            ) from error
        except BaseException:
            process.kill()
            raise
        with self._lock:
            self._idle.append(process)
        return pixels


class _DecoderProcess:
    """One process and the socket to it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "yolo_service.images.decoder_process"]
            self._process = subprocess.Popen(  # noqa: S603 - this Python with a module of ours
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._socket.settimeout(START_SECONDS)
        self._socket.recv(len(READY))

    def decode(self, data: bytes, width: int, height: int, seconds: float) -> RgbImage | None:
        """Decode a file; None if it cannot be decoded.

        Raises:
            OSError: it took too long, or the process ended.
            struct.error: the process ended.
        """
        source, target = os.memfd_create("encoded"), os.memfd_create("pixels")
        try:
            _write(source, data)
            self._socket.settimeout(seconds)
            request = REQUEST.pack(len(data), 3 * width * height)
            socket.send_fds(self._socket, [request], [source, target])
            height, width = REPLY.unpack(self._socket.recv(REPLY.size))
            return _mapped(target, height, width) if height else None
        finally:
            os.close(source)
            os.close(target)

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._socket.close()
        self._process.kill()
        with suppress(OSError):
            self._process.wait()


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _mapped(file: int, height: int, width: int) -> RgbImage:
    """Return the pixels in a file in memory; the memory is freed with the array."""
    memory = mmap.mmap(file, 3 * height * width)
    return np.frombuffer(memory, np.uint8).reshape(height, width, 3)
