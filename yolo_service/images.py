"""Bytes to pixels: which pictures are taken, and how they become RGB arrays."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import cv2
import numpy as np

from darknet.engines.base import RgbImage
from yolo_service import headers, png
from yolo_service.errors import ImageTooLarge, UndecodableImage

MAX_SIDE = 32_767
"""Pixels; OpenCV's geometric functions keep coordinates in 16 bits."""


Size = tuple[int, int]
"""Width and height in pixels."""

_REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}
"""OpenCV's flags for the scales of libjpeg; the names that it has for them mean BGR or grey."""

_LARGE = 4_000_000
"""Pixels; of fewer than that OpenCV's copy stays in memory that the thread has already."""

_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture, perhaps of fewer pixels than the file has.

    Attributes:
        pixels: uint8[height, width, 3], red first.
        size: of the file's picture, upright.
    """

    pixels: RgbImage
    size: Size

    @property
    def scale(self) -> tuple[float, float]:
        """By how much the file's picture is wider and higher than ``pixels``."""
        height, width = self.pixels.shape[:2]
        return self.size[0] / width, self.size[1] / height


def whole(pixels: RgbImage) -> Decoded:
    """Return a picture that has all its pixels."""
    return Decoded(pixels, (pixels.shape[1], pixels.shape[0]))


def decode_reduced(data: bytes, at_least: Size | None, *, max_pixels: int) -> Decoded:
    """Decode a picture like ``decode``; a JPEG at 1/2, 1/4 or 1/8 of its size if that is enough.

    Decoding the eighth of a photo of 12 megapixels takes a third of the time, and less memory.

    Args:
        data: see ``decode``.
        at_least: what is enough, in either orientation; None: nothing but the whole picture.
        max_pixels: see ``decode``.

    Raises:
        UnsupportedImageType: see ``decode``, also for the others.
        ImageTooLarge: ``max_pixels`` counts the pixels of the file, not of the result.
        UndecodableImage: the file is damaged.
    """
    header = headers.read(data)
    _check_size(header, max_pixels)
    factor = _reduction(header, at_least) if at_least else 1
    is_large = header.width * header.height >= _LARGE * factor * factor
    flags = cv2.IMREAD_COLOR_RGB | _REDUCED[factor]
    pixels = _large_jpeg(data, flags) if is_large and header.format == "JPEG" else None
    if pixels is None:
        pixels = _pixels(png.plain(data) if header.format == "PNG" else data, flags)
    if pixels is None:
        raise UndecodableImage(
            f"the {header.format} is cut off, damaged or of a rare kind; "
            "send the whole file, or save it again as JPEG or PNG"
        )
    return whole(pixels) if factor == 1 else Decoded(pixels, _upright(header, pixels, factor))


def _reduction(header: headers.Header, at_least: Size) -> int:
    """Return by how much a picture can be divided and stay large enough whichever way it lies.

    One that is nearly square is left alone: nobody could tell later how it lay.
    """
    if header.format != "JPEG" or 0 < abs(header.width - header.height) < max(_REDUCED):
        return 1
    smallest = min(header.width, header.height)
    return max(factor for factor in _REDUCED if factor == 1 or smallest // factor >= max(at_least))


def _upright(header: headers.Header, pixels: RgbImage, factor: int) -> Size:
    """Return the size of the file's picture after its EXIF orientation, which only pixels show."""
    width, height = header.width, header.height
    is_turned = pixels.shape[:2] != (-(-height // factor), -(-width // factor))
    return (height, width) if is_turned else (width, height)


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
    return decode_reduced(data, None, max_pixels=max_pixels).pixels


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


def _pixels(data: bytes, flags: int) -> RgbImage | None:
    """Return what OpenCV decodes, or None where it cannot: it refuses files that are cut off."""
    _silence_opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _large_jpeg(data: bytes, flags: int) -> RgbImage | None:
    """Decode a JPEG by way of a file in memory, or return None: then ``_pixels`` has to.

    ``imdecode`` hands out a copy of what it has decoded, ``imread`` need not: for 48 megapixels
    that saves 40 % of the time and half of the memory. But of a file that is cut off ``imread``
    makes up the rest. So the marker of the end must be there, which compressed data cannot hold.
    """
    if not hasattr(os, "memfd_create") or not data.endswith(_JPEG_END):
        return None
    _silence_opencv()
    with os.fdopen(os.memfd_create("picture"), "wb", buffering=0) as file:
        file.write(data)
        try:
            pixels = cv2.imread(f"/proc/self/fd/{file.fileno()}", dst=None, flags=flags)
        except cv2.error:
            return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


@functools.cache
def _silence_opencv() -> None:
    """Keep OpenCV from describing each damaged upload on stderr; it is answered instead."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
