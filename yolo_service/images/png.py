"""PNG files made safe to decode: checked, and reduced to the chunks of their pixels.

OpenCV 5.0 crashes on some damaged animations, allocates the size that a chunk claims, and
decompresses data to their end even when the last row is full: 2.5 s for a file of 1 MB.

Source: Portable Network Graphics Specification, third edition (W3C).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from yolo_service.errors import UndecodableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 65_536
UNCHECKED_BYTES = 1 << 18  # deflate makes at most 1032 bytes of one, here in half a second

_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"eXIf", b"IEND"})
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_INPUT_BYTES = 1 << 16
_OUTPUT_BYTES = 1 << 20


def size(data: bytes) -> tuple[int, int]:
    """Return the width and height in pixels in the header.

    Raises:
        UndecodableImage: the first chunk is not IHDR.
        struct.error: the file ends inside it.
    """
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    if kind != b"IHDR":
        raise UndecodableImage("the PNG does not begin with an IHDR chunk; save it again")
    return width, height


def strip(data: bytes) -> bytes:
    """Return the file without animation, colour profile, comments and transparent colour.

    OpenCV decodes it to the same pixels. Of files larger than ``UNCHECKED_BYTES`` the size of the
    decompressed data is checked, which takes about half as long as decoding.

    Raises:
        UndecodableImage: cut off, without pixels, of more than ``MAX_CHUNKS`` chunks, or with more
            than twice the data that its size and depth need.
    """
    kept = [(kind, chunk) for kind, chunk in _chunks(data) if kind in _KEPT]
    pixels = [chunk[8:-4] for kind, chunk in kept if kind == b"IDAT"]
    if not pixels:
        raise UndecodableImage("the PNG holds no pixels; save it again with another program")
    if len(data) > UNCHECKED_BYTES and _expands_beyond(pixels, 2 * _raw_size(data) + 1024):
        raise UndecodableImage("the PNG holds more data than its size needs; save it again")
    return SIGNATURE + b"".join(chunk for _, chunk in kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and bytes (length, type, content, checksum) of each chunk up to IEND."""
    view, start = memoryview(data), len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            raise UndecodableImage("the PNG is cut off; send the whole file")
        kind = data[start + 4 : start + 8]
        yield kind, view[start:end]
        if kind == b"IEND":
            return
        start = end
    raise UndecodableImage(f"the PNG has more than {MAX_CHUNKS} chunks; save it again")


def _raw_size(data: bytes) -> int:
    """Return the bytes of all rows before compression; interlaced, they take up to twice that."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    return int(height * (1 + (width * depth * _CHANNELS.get(colour, 4) + 7) // 8))


def _expands_beyond(parts: Iterable[memoryview], limit: int) -> bool:
    """Return whether a zlib stream has more than ``limit`` bytes; False for a damaged one."""
    inflate, total = zlib.decompressobj(), 0
    inputs = (
        part[i : i + _INPUT_BYTES] for part in parts for i in range(0, len(part), _INPUT_BYTES)
    )
    try:
        for part in inputs:
            rest: bytes | memoryview = part
            while rest and total <= limit:
                total += len(inflate.decompress(rest, _OUTPUT_BYTES))
                rest = inflate.unconsumed_tail
    except zlib.error:
        return False  # the decoder will raise the same error
    return total > limit
