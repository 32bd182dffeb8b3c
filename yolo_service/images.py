"""Bytes to pixels: which pictures are taken, and how they become RGB arrays."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from darknet.engines.base import RgbImage
from yolo_service import headers, png
from yolo_service.errors import ImageTooLarge, UndecodableImage

MAX_SIDE = 32_767
"""Pixels; OpenCV's geometric functions keep coordinates in 16 bits."""


def decode(data: bytes, *, max_pixels: int) -> RgbImage:
    """Decode a picture as it is meant to be seen, upright and in colour.

    The EXIF orientation is applied. Of an animation or a file with several pages the first picture
    is taken. Grey, palette, CMYK and 16-bit pictures become RGB of 8 bits (the upper 8 of 16).
    Transparency is dropped, not blended: the colours below it are what Darknet, which decodes with
    OpenCV too, would look at. (In TIFF they come blended with black.)

    Releases the GIL while it decodes; meant to be called on a worker thread.

    Args:
        data: a whole JPEG, PNG, GIF, WebP, BMP or TIFF file; its name plays no part.
        max_pixels: most width * height that is decoded.

    Returns:
        uint8[height, width, 3], red first.

    Raises:
        UnsupportedImageType: not one of these formats.
        ImageTooLarge: more than ``max_pixels``, or a side longer than ``MAX_SIDE``.
        UndecodableImage: empty, cut off, damaged, of a kind that OpenCV does not read (for example
            a TIFF of floats), or made to exhaust the decoder.
    """
    header = headers.read(data)
    _check_size(header, max_pixels)
    pixels = _pixels(png.plain(data) if header.format == "PNG" else data)
    if pixels is None:
        raise UndecodableImage(
            f"the {header.format} is cut off, damaged or of a rare kind; "
            "send the whole file, or save it again as JPEG or PNG"
        )
    return pixels


def _check_size(header: headers.Header, max_pixels: int) -> None:
    size = f"the {header.format} has {header.width} x {header.height} pixels"
    if header.width < 1 or header.height < 1:
        raise UndecodableImage(f"{size}, expected at least 1 x 1")
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(
            f"{size}, at most {max_pixels} in all are decoded; "
            "scale it down or set YOLO_MAX_PIXELS on the server"
        )
    if max(header.width, header.height) > MAX_SIDE:
        raise ImageTooLarge(f"{size}, at most {MAX_SIDE} a side are decoded; scale it down")


def _pixels(data: bytes) -> RgbImage | None:
    """Return what OpenCV decodes, or None where it cannot: it refuses files that are cut off."""
    _silence_opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


@functools.cache
def _silence_opencv() -> None:
    """Keep OpenCV from describing each damaged upload on stderr; it is answered instead."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
