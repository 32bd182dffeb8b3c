"""Files of every format that are small and take a decoder long, or much memory; made by code."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def progressive_jpeg(side: int, scans: int, *, arithmetic: bool = False) -> bytes:
    """Return a grey progressive JPEG whose scans say nothing, each a pass over all blocks.

    Huffman-coded, a scan is runs of empty blocks; arithmetic-coded, it has no bytes at all.
    """
    blocks = ((side + 7) // 8) ** 2
    parts = [b"\xff\xd8", _segment(0xDB, bytes([0]) + bytes([1] * 64))]
    frame = 0xCA if arithmetic else 0xC2
    parts.append(_segment(frame, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00"))
    if not arithmetic:
        one_code = bytes([1] + [0] * 15)
        parts.append(_segment(0xC4, b"\x00" + one_code + b"\x00"))  # DC: code 0 is no difference
        parts.append(_segment(0xC4, b"\x10" + one_code + b"\xe0"))  # AC: code 0 is a run of 2^14
    parts.append(_segment(0xDA, b"\x01\x01\x00\x00\x00\x00"))
    parts.append(b"" if arithmetic else bytes(blocks // 8 + 1))
    run = "0" + "1" * 14  # the code, and how much longer than 2^14 blocks
    bits = run * (blocks // (2**15 - 1) + 1)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    for _ in range(scans):
        parts.append(_segment(0xDA, b"\x01\x01\x00\x01\x3f\x00"))
        parts.append(b"" if arithmetic else data)
    return b"".join([*parts, b"\xff\xd9"])


def gif_of_clear_codes(side: int, length: int) -> bytes:
    """Return a GIF whose data reset the LZW table again and again."""
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02"
    clear = int("100" * 8, 2).to_bytes(3, "little")
    block = bytes([255]) + clear * 85
    return head + frame + block * (length // 256) + b"\x00;"


def animated_webp(side: int) -> bytes:
    """Return a WebP that claims a large canvas for one small frame."""
    file = io.BytesIO()
    Image.new("RGBA", (16, 16)).save(file, "WEBP", lossless=True)
    data = file.getvalue()
    vp8l = data[data.index(b"VP8L") :]
    canvas = struct.pack("<I", side - 1)[:3] * 2
    header = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    anim = b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    at_zero, small, short = bytes(6), struct.pack("<I", 15)[:3] * 2, b"\x64\0\0\0"
    content = at_zero + small + short + vp8l
    frame = b"ANMF" + struct.pack("<I", len(content)) + content
    body = b"WEBP" + header + anim + frame * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_of_tiles(side: int) -> bytes:
    """Return a CIELab TIFF of 16 x 16 tiles that all lie at the same place of the file."""
    tiles = ((side + 15) // 16) ** 2
    tile = bytes(16 * 16 * 3)
    bits_at = 8
    tile_at = bits_at + 6
    offsets_at = tile_at + len(tile)
    counts_at = offsets_at + 4 * tiles
    directory_at = counts_at + 4 * tiles
    fields = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 8),
        (277, 3, 1, 3),
        (284, 3, 1, 1),
        (322, 3, 1, 16),
        (323, 3, 1, 16),
        (324, 4, tiles, offsets_at),
        (325, 4, tiles, counts_at),
    ]
    directory = struct.pack("<H", len(fields))
    directory += b"".join(struct.pack("<HHII", *field) for field in fields) + bytes(4)
    return b"".join(
        (
            struct.pack("<2sHI", b"II", 42, directory_at),
            struct.pack("<HHH", 8, 8, 8),
            tile,
            struct.pack("<I", tile_at) * tiles,
            struct.pack("<I", len(tile)) * tiles,
            directory,
        )
    )


def deep_tiff(side: int) -> bytes:
    """Return a TIFF of 16-bit RGBA, which takes eight bytes per pixel before it is RGB."""
    import cv2

    return cv2.imencode(".tiff", np.zeros((side, side, 4), np.uint16))[1].tobytes()


def deep_png(side: int) -> bytes:
    """Return an interlaced PNG of 16-bit RGBA."""
    import cv2

    return cv2.imencode(".png", np.zeros((side, side, 4), np.uint16))[1].tobytes()


def bmp_of_runs(side: int) -> bytes:
    """Return a run-length encoded BMP whose data never end a row."""
    data = b"\x00\x02\x00\x00" * 1_000_000
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return struct.pack("<2sIII", b"BM", start + len(data), 0, start) + header + bytes(1024) + data


FILES: dict[str, Callable[[], bytes]] = {
    "arithmetic JPEG of 98 scans": lambda: progressive_jpeg(7000, 98, arithmetic=True),
    "progressive JPEG of 98 scans": lambda: progressive_jpeg(7000, 98),
    "GIF of clear codes": lambda: gif_of_clear_codes(7000, 18_000_000),
    "animated WebP": lambda: animated_webp(7000),
    "CIELab TIFF of tiles": lambda: tiff_of_tiles(7000),
    "16-bit TIFF": lambda: deep_tiff(7000),
    "16-bit PNG": lambda: deep_png(7000),
    "BMP of runs": lambda: bmp_of_runs(7000),
}
"""Name and maker of each file; all are below the limits of bytes and pixels."""
