"""Whether an encoded image has arrived whole, told by the end that its format prescribes."""

from __future__ import annotations

import struct

from yolo_service.errors import ServiceError
from yolo_service.images import image_header

_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xae\x42\x60\x82"


def is_whole(data: bytes) -> bool:
    """Return whether a file that is being written could be complete.

    A file of an unknown format has no end that could be missing, so it is. One that is empty, or
    begins with zeros as space that was reserved for a file does, is not. What follows the end of an
    image, as some cameras append, plays no part.

    Args:
        data: the file, as far as it has arrived.
    """
    if data[:8].strip(b"\0") == b"":
        return False
    for start, has_end in _ENDS.items():
        if data.startswith(start):
            try:
                return has_end(data)
            except (struct.error, IndexError, ServiceError):
                return False
    return True


def _jpeg(data: bytes) -> bool:
    *_, (_, scan) = image_header.jpeg_segments(data)
    # In a scan, 0xff is followed by 0 or a restart; a thumbnail's end lies before the scan.
    return data.find(_JPEG_END, scan) > 0


def _png(data: bytes) -> bool:
    return _PNG_END in data


def _gif(data: bytes) -> bool:
    return data.rstrip(b"\0").endswith(b";")


def _webp(data: bytes) -> bool:
    return len(data) >= 8 + int(struct.unpack_from("<I", data, 4)[0])


def _bmp(data: bytes) -> bool:
    return len(data) >= int(struct.unpack_from("<I", data, 2)[0])


def _tiff(data: bytes) -> bool:
    """Look for the list of tags, which is usually written last."""
    return image_header.read(data).width > 0


_ENDS = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG": _png,
    b"GIF8": _gif,
    b"RIFF": _webp,
    b"BM": _bmp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
}
