"""Raw connections, hostile files, and the memory, time, files and threads of a process."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.support import hostile, sample_images
from tests.support.fixtures import Answer
from tests.support.sample_images import chunk


class Peer:
    """A client that sends raw bytes and reads HTTP answers."""

    def __init__(self, port: int, data: bytes = b"", timeout: float = 30) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._file = self.socket.makefile("rb")
        try:
            self.socket.sendall(data)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def flood(self, data: bytes, times: int) -> bool:
        """Send data many times; return whether the server took all of it."""
        try:
            for _ in range(times):
                self.socket.sendall(data)
        except OSError:
            return False
        return True

    def answer(self) -> Answer:
        """Read the next answer, which has a length."""
        status = int(self._file.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return Answer(status, headers, self._file.read(int(headers["Content-Length"])))

    def is_closed(self) -> bool:
        """Wait for the end of the connection."""
        try:
            return not self._file.read(1)
        except ConnectionResetError:
            return True


def post(path: str = "/detect", *headers: str) -> bytes:
    """Return the head of a request with a form; its length is for the caller to add."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: a",
        "Content-Type: multipart/form-data; boundary=b",
        *headers,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Cost:
    """The resources of a process: memory, processor time, files and threads."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc", str(pid))

    def reset_peak(self) -> None:
        """Reset ``peak`` to the memory used now."""
        (self._folder / "clear_refs").write_text("5")

    @property
    def peak(self) -> int:
        """Most bytes of memory since ``reset_peak``."""
        return self._status("VmHWM") * 1024

    @property
    def memory(self) -> int:
        """Bytes of memory now."""
        return self._status("VmRSS") * 1024

    @property
    def seconds(self) -> float:
        """Processor time used so far, in all threads."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def threads(self) -> int:
        return self._status("Threads")

    @property
    def files(self) -> int:
        return len(os.listdir(self._folder / "fd"))  # noqa: PTH208 - names are enough

    def _status(self, name: str) -> int:
        text = (self._folder / "status").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1])


def gif_claiming(width: int, height: int) -> bytes:
    data = bytearray(sample_images.encode(sample_images.quarters(), "GIF"))
    struct.pack_into("<HH", data, 6, width, height)
    return bytes(data)


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(sample_images.jpeg())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def webp_claiming(width: int, height: int) -> bytes:
    data = bytearray(sample_images.encode(sample_images.quarters(), "WEBP"))
    at = data.index(b"\x9d\x01\x2a")
    struct.pack_into("<HH", data, at + 3, width & 0x3FFF, height & 0x3FFF)
    return bytes(data)


def bmp_claiming(width: int, height: int) -> bytes:
    data = bytearray(sample_images.encode(sample_images.quarters(), "BMP"))
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


def zipped(data: bytes) -> bytes:
    """Compress data as gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def hostile_images() -> Iterator[tuple[str, bytes, int]]:
    """Yield the name, the bytes and the expected status of each hostile file."""
    for size in ((60_000, 60_000), (65_000, 700), (16_383, 16_383)):
        name = f"{size[0]} x {size[1]}"
        yield f"PNG bomb of {name}", sample_images.png_claiming(*size), 413
        yield f"GIF bomb of {name}", gif_claiming(*size), 413
        yield f"JPEG bomb of {name}", jpeg_claiming(*size), 413
    yield "PNG of nearly as many pixels as allowed", sample_images.png_claiming(7000, 7000), 422
    yield "WebP of nearly as many pixels as allowed", webp_claiming(7000, 7000), 422
    yield "BMP of nearly as many pixels as allowed", bmp_claiming(7000, 7000), 422
    yield "WebP bomb", webp_claiming(16_383, 16_383), 413
    yield "BMP bomb", bmp_claiming(2_000_000_000, 2_000_000_000), 413
    yield "BMP of negative size", bmp_claiming(-5, 10), 422
    yield "PNG of 1 x 65,000", sample_images.png_claiming(1, 65_000), 413
    yield "JPEG of 1 x 65,000", jpeg_claiming(1, 65_000), 413
    yield "PNG data that expand", _expanding_png(), 422
    yield "PNG of a million chunks", sample_images.png_claiming(64, 48, chunk(b"teSt") * 10**6), 422
    for name, make in hostile.FILES.items():
        yield name, make(), 422
    yield "JPEG of millions of comments", b"\xff\xd8" + b"\xff\xfe\0\2" * 2_000_000, 422
    yield "TIFF of overlapping tags", _overlapping_tiff(), 422
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        data = sample_images.encode(sample_images.quarters(), kind)
        yield f"{kind} cut off", data[: len(data) // 2], 422
        yield f"{kind} of its signature only", data[:12], 422
    yield "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415
    yield "XML of expanding entities", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]>", 415
    yield "HEIC", b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(1000), 415
    yield "gzip", zipped(bytes(10**7)), 415
    yield "zeros", bytes(15_000_000), 415
    yield "GIF that is HTML, too", b"GIF89a<script>alert(1)</script>" + bytes(100), 413


def _expanding_png() -> bytes:
    return sample_images.png_claiming(64, 48, chunk(b"IDAT", zlib.compress(bytes(400_000_000), 9)))


def _overlapping_tiff() -> bytes:
    fields = [(256, 4, 1, 64), (257, 4, 1, 48)]
    fields += [(tag, 1, 1_000_000, 8) for tag in range(40_000, 41_000)]
    return sample_images.tiff(fields, bytes(2_000_000))
