"""PNG files made safe to decode: their chunks are checked and reduced to what shows the image.

OpenCV 5.0 crashes on some damaged animations, sets gigabytes aside for a chunk that claims them,
and expands compressed data to their end even when the last row is full: 2.5 s for a file of 1 MB.
None of that is left when it is given only the chunks that its pixels come from.

Source: Portable Network Graphics Specification, third edition (W3C).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from yolo_service.errors import UndecodableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 65_536
UNCHECKED_BYTES = 1 << 18  # deflate makes at most 1032 bytes of one: half a second's work

_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"eXIf", b"IEND"})
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PIECE = 1 << 16
_STEP = 1 << 20


def size(data: bytes) -> tuple[int, int]:
    """Return width and height that the header claims.

    Raises:
        UndecodableImage: the first chunk is no header.
        struct.error: the file ends inside it.
    """
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    if kind != b"IHDR":
        raise UndecodableImage("the PNG does not begin with an IHDR chunk; save it again")
    return width, height


def plain(data: bytes) -> bytes:
    """Return the file without animation, colour profile, remarks and transparency of a colour.

    The pixels that OpenCV returns are the same. For files of more than ``UNCHECKED_BYTES`` the
    amount of compressed data is checked, which costs about half of the decoding.

    Raises:
        UndecodableImage: cut off, without pixels, of too many chunks, or with more than twice the
            data that its size and depth need.
    """
    kept = [(kind, chunk) for kind, chunk in _chunks(data) if kind in _KEPT]
    pixels = [chunk[8:-4] for kind, chunk in kept if kind == b"IDAT"]
    if not pixels:
        raise UndecodableImage("the PNG holds no pixels; save it again with another program")
    if len(data) > UNCHECKED_BYTES and _expands_beyond(pixels, 2 * _raw_size(data) + 1024):
        raise UndecodableImage("the PNG holds more data than its size needs; save it again")
    return SIGNATURE + b"".join(chunk for _, chunk in kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and bytes (length, type, content, checksum) of each chunk up to the end mark."""
    view, start = memoryview(data), len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if start + 8 > len(data):
            raise _cut_off()
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            raise _cut_off()
        yield kind, view[start:end]
        if kind == b"IEND":
            return
        start = end
    raise UndecodableImage(f"the PNG has more than {MAX_CHUNKS} chunks; save it again")


def _cut_off() -> UndecodableImage:
    return UndecodableImage("the PNG is cut off; send the whole file")


def _raw_size(data: bytes) -> int:
    """Return the bytes of all rows before compression; interlaced images need up to twice it."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    return int(height * (1 + (width * depth * _CHANNELS.get(colour, 4) + 7) // 8))


def _expands_beyond(parts: Iterable[memoryview], limit: int) -> bool:
    """Say whether a zlib stream expands to more than ``limit`` bytes; a broken one does not."""
    inflate, total = zlib.decompressobj(), 0
    pieces = (part[i : i + _PIECE] for part in parts for i in range(0, len(part), _PIECE))
    try:
        for piece in pieces:
            rest: bytes | memoryview = piece
            while rest and total <= limit:
                total += len(inflate.decompress(rest, _STEP))
                rest = inflate.unconsumed_tail
    except zlib.error:
        return False  # the decoder finds the same error
    return total > limit
