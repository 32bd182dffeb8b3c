"""Generated images of every format, valid and hostile.

All have a red, a green, a blue and a white quarter, so that a wrong channel order or orientation is
detected. They are encoded by Pillow, which the service does not use.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from darknet.model import RgbImage

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
WIDTH, HEIGHT = 64, 48


def quarters(width: int = WIDTH, height: int = HEIGHT) -> RgbImage:
    """Red, green, blue and white: top left, top right, bottom left, bottom right."""
    pixels = np.empty((height, width, 3), np.uint8)
    y, x = height // 2, width // 2
    pixels[:y, :x], pixels[:y, x:], pixels[y:, :x], pixels[y:, x:] = RED, GREEN, BLUE, WHITE
    return pixels


def grey() -> RgbImage:
    """The quarters as Pillow turns them grey, in three equal channels."""
    return np.asarray(Image.fromarray(quarters()).convert("L").convert("RGB"))


def encode(pixels: RgbImage, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """Encode with Pillow, which takes its names of formats, modes and options."""
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def jpeg(width: int = WIDTH, height: int = HEIGHT, **options: Any) -> bytes:
    """A JPEG without chroma subsampling, so that its colours are nearly exact."""
    return encode(quarters(width, height), "JPEG", quality=95, subsampling=0, **options)


def png(width: int = WIDTH, height: int = HEIGHT, mode: str = "RGB", **options: Any) -> bytes:
    return encode(quarters(width, height), "PNG", mode, **options)


def oriented(kind: str, orientation: int) -> bytes:
    """The quarters with an EXIF orientation, 1 to 8."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    return encode(quarters(), kind, exif=exif, **options)


def upright(orientation: int) -> RgbImage:
    """The quarters after their EXIF orientation is applied."""
    stored = quarters()
    return {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]


def animation(kind: str) -> bytes:
    """Several images in one file; the first are the quarters, the others are black."""
    black = [Image.new("RGB", (WIDTH, HEIGHT))] * 2
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    return encode(quarters(), kind, save_all=True, append_images=black, **options)


def transparent(kind: str, mode: str = "RGBA", **options: Any) -> bytes:
    """The quarters, the left half wholly and the right half partly transparent."""
    image = Image.fromarray(quarters()).convert(mode)
    alpha = np.full((HEIGHT, WIDTH), 128, np.uint8)
    alpha[:, : WIDTH // 2] = 0
    image.putalpha(Image.fromarray(alpha))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int, *more: bytes) -> bytes:
    """A PNG of any size in its header, followed by the chunks given, or by a few bytes of data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = b"".join(more) or chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND")


def png16(mode_channels: int) -> bytes:
    """A PNG of 16 bits per channel: 1 for grey, 3 for RGB, 4 for RGB with alpha."""
    colour = {1: 0, 3: 2, 4: 6}[mode_channels]
    source = grey()[..., :1] if mode_channels == 1 else quarters()
    if mode_channels == 4:
        source = np.dstack([source, np.full((HEIGHT, WIDTH), 9, np.uint8)])
    samples = (source.astype(">u2") << 8 | 0x7F).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND")


def tiff(fields: list[tuple[int, int, int, int]], body: bytes = b"") -> bytes:
    """A little-endian TIFF of (tag, type, count, value) fields and what follows its directory."""
    directory = b"".join(
        struct.pack("<HHI", tag, kind, count)
        + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value))
        for tag, kind, count, value in sorted(fields)
    )
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory + struct.pack("<I", 0) + body
