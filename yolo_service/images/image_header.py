"""Format, size and EXIF orientation of an encoded image, read without decoding it.

Image libraries take seconds and gigabytes for a few megabytes of PNG chunks, JPEG comments or
overlapping TIFF tags. Here every loop is bounded, nothing is copied, and files that would take a
decoder minutes are refused.

Sources: ISO/IEC 10918-1 (JPEG), the PNG specification (third edition), the GIF89a specification,
RFC 9649 (WebP), TIFF 6.0, Microsoft's description of BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from yolo_service.errors import UndecodableImage, UnsupportedImageType
from yolo_service.images import png

MAX_JPEG_SEGMENTS = 1024  # a file of 20 MB full of colour profiles and depth maps has 320
MAX_EXIF_FIELDS = 100  # cameras write 20
MAX_SCAN_PIXELS = 600_000_000
"""Most pixels times scans of a plain JPEG: half a second. Progressive encoders write 10 scans."""

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SEQUENTIAL, _JPEG_PROGRESSIVE = frozenset({0xC0, 0xC1}), 0xC2  # Huffman-coded
_JPEG_SCAN = 0xDA
_JPEG_APP1, _EXIF = 0xE1, b"Exif\0\0"

_EXIF_ORIENTATION, _SHORT = 0x0112, 3
_ORIENTATIONS = {(_SHORT, 1, value) for value in range(1, 9)}  # type, count and value of the field

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 11: 4, 13: 4}  # 8 for the others
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I"}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257

_OTHER_FORMATS = (  # named in the error
    (re.compile(rb"(\xef\xbb\xbf)?\s*<"), "HTML, XML or SVG text"),
    (re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb".{4}ftypavi", re.DOTALL), "AVIF"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"\s*[{\[]\s*[\"{\[]"), "JSON text"),
)


@dataclass(frozen=True)
class Header:
    """Format, size and orientation in the header of an image; nothing is verified.

    Attributes:
        format: JPEG, PNG, GIF, WebP, BMP or TIFF.
        width: pixels, as stored: before an EXIF orientation is applied.
        height: pixels, as stored.
        orientation: EXIF orientation of a grey or colour JPEG, 1 to 8, where 1 is upright; None for
            other images, and where EXIF is damaged, ambiguous or holds another value.
        is_plain: whether the time and memory of decoding follow from the size: a JPEG of 8 bits,
            Huffman-coded, of few scans, whose orientation is known; a PNG of up to 8 bits that is
            not interlaced.
    """

    format: str
    width: int
    height: int
    orientation: int | None = None
    is_plain: bool = False


def read(data: bytes) -> Header:
    """Read the header of an encoded image.

    Args:
        data: the whole file.

    Raises:
        UnsupportedImageType: the bytes are not an image of one of these formats.
        UndecodableImage: the header is cut off, contradicts itself or is made to exhaust a
            decoder.
    """
    kind, reader = _format(data)
    try:
        return Header(kind, *reader(data))
    except (struct.error, IndexError):
        raise UndecodableImage(f"the {kind} is cut off; send the whole file") from None


def _format(data: bytes) -> tuple[str, _Reader]:
    if not data:
        raise UndecodableImage("the file is empty; send an image")
    for kind, (signature, reader) in _FORMATS.items():
        if signature.match(data):
            return kind, reader
    found = (name for start, name in _OTHER_FORMATS if start.match(data[:256]))
    raise UnsupportedImageType(
        f"the bytes are {next(found, 'no image of a known format')}; "
        f"send one of {', '.join(_FORMATS)}"
    )


def _damaged(kind: str, why: str) -> UndecodableImage:
    return UndecodableImage(f"the {kind} {why}; save it again with another program")


def _jpeg(data: bytes) -> tuple[int, int, int | None, bool]:
    segments = list(jpeg_segments(data))
    frames = [(marker, at) for marker, at in segments if marker in _JPEG_FRAMES]
    if len(frames) != 1:
        raise _damaged("JPEG", f"has {len(frames)} frame headers, expected 1")
    marker, at = frames[0]
    depth, height, width, components = struct.unpack_from(">BHHB", data, at + 2)
    _, scan = segments[-1]
    one_scan = marker in _JPEG_SEQUENTIAL and data[scan + 2] == components
    scans = 1 if one_scan else data.count(b"\xff\xda", scan) + 1
    exifs = [at for kind, at in segments if kind == _JPEG_APP1 and data.startswith(_EXIF, at + 2)]
    found = {_orientation(data, at + 2 + len(_EXIF)) for at in exifs} or {1}
    orientation = found.pop() if components in (1, 3) and len(found) == 1 else None
    is_usual = depth == 8 and (marker in _JPEG_SEQUENTIAL or marker == _JPEG_PROGRESSIVE)
    is_cheap = scans * width * height <= MAX_SCAN_PIXELS
    return width, height, orientation, orientation is not None and is_usual and is_cheap


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment and the offset after it; the first scan is the last."""
    position = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            raise struct.error
        marker, position = data[found.start(1)], found.end()
        yield marker, position
        if marker == _JPEG_SCAN:
            return
        if marker not in _JPEG_BARE:
            position += struct.unpack_from(">H", data, position)[0]
    raise _damaged("JPEG", f"has more than {MAX_JPEG_SEGMENTS} segments before its first scan")


def _orientation(data: bytes, start: int) -> int | None:
    """Read the orientation from EXIF, which is a TIFF without pixels; 1 if it has none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[start : start + 4])
    if order is None:
        return None
    try:
        directory = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        starts = range(directory + 2, directory + 2 + 12 * count, 12)
        fields = [struct.unpack_from(f"{order}HHIH", data, at) for at in starts[:MAX_EXIF_FIELDS]]
    except struct.error:
        return None
    found = [field[1:] for field in fields if field[0] == _EXIF_ORIENTATION] or [(_SHORT, 1, 1)]
    valid = count <= MAX_EXIF_FIELDS and len(found) == 1 and found[0] in _ORIENTATIONS
    return found[0][2] if valid else None


def _png(data: bytes) -> tuple[int, int, None, bool]:
    width, height = png.size(data)
    depth, interlaced = data[24], data[28]
    return width, height, None, depth <= 8 and not interlaced


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        low_x, high_x, low_y, high_y = struct.unpack_from("<HBHB", data, 24)
        return (high_x << 16 | low_x) + 1, (high_y << 16 | low_y) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _damaged("WebP", "begins with a chunk that is none of VP8, VP8L and VP8X")


def _bmp(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return width, abs(height)  # negative: the top row comes first


def _tiff(data: bytes) -> tuple[int, int]:
    order = "<" if data[:1] == b"I" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    end = start + 2 + 12 * count
    if end + 4 > len(data):  # the offset of the next directory follows
        raise _damaged("TIFF", "is cut off in its list of tags")
    directory = data[start + 2 : end]
    fields = list(struct.iter_unpack(f"{order}HHI4s", directory))
    if sum(n * _TIFF_SIZES.get(kind, 8) for _, kind, n, _ in fields) > len(data):
        raise _damaged("TIFF", "has tags that overlap or lie outside of the file")
    width, height = (
        _tiff_number(order, [field for field in fields if field[0] == tag])
        for tag in (_TIFF_WIDTH, _TIFF_HEIGHT)
    )
    return width, height


def _tiff_number(order: str, fields: list[tuple[int, int, int, bytes]]) -> int:
    """Return the value of a tag, which must occur once: readers differ on which of two counts."""
    if len(fields) != 1 or fields[0][1] not in _TIFF_NUMBERS:
        raise _damaged("TIFF", "has no tags for width and height, or not each once")
    _, kind, _, value = fields[0]
    return int(struct.unpack_from(order + _TIFF_NUMBERS[kind], value)[0])


_Reader = Callable[[bytes], tuple[int, int] | tuple[int, int, int | None, bool]]

_FORMATS: dict[str, tuple[re.Pattern[bytes], _Reader]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), _jpeg),
    "PNG": (re.compile(re.escape(png.SIGNATURE)), _png),
    "GIF": (re.compile(rb"GIF8[79]a"), _gif),
    "WebP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp),
    "BMP": (re.compile(rb"BM"), _bmp),
    "TIFF": (re.compile(rb"II\*\x00|MM\x00\*"), _tiff),
}
"""Signature of each format, and the function that returns size and orientation."""
