"""Bytes to pixels: which images are taken, and how they become RGB arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from darknet.model import RgbImage
from yolo_service.errors import ImageTooLarge, UndecodableImage
from yolo_service.images import image_header as headers
from yolo_service.images import jpeg, png

if TYPE_CHECKING:
    from darknet.network import Network
    from yolo_service.settings import Decode

MAX_SIDE = 32_767
"""Pixels; OpenCV's geometric functions keep coordinates in 16 bits."""


Size = tuple[int, int]
"""Width and height in pixels."""

_REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}
"""OpenCV's flags for the scales of libjpeg; the names that it has for them mean BGR or grey."""


@dataclass(frozen=True)
class DecodeOptions:
    """How an image is decoded; the defaults give the full image in RGB.

    Attributes:
        keep_image: whether the image is used after detection, for example drawn on: it then has
            three channels. Without it there may be a fourth, which makes decoding and resizing
            faster.
        smooth: whether the subsampled chroma of a JPEG is interpolated as by OpenCV, or repeated.
        min_size: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as it is at least
            this large in either orientation; None: full size.
    """

    keep_image: bool = True
    smooth: bool = True
    min_size: Size | None = None

    @classmethod
    def for_network(cls, network: Network, decode: Decode | None = None) -> DecodeOptions:
        """Return the options for an image that only a network reads; see ``Settings.decode``."""
        if decode is None:
            decode = "exact" if network.precision == "fp32" else "fast"
        min_size = network.input_size if decode == "reduced" else None
        return cls(keep_image=False, smooth=decode == "exact", min_size=min_size)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image, possibly smaller than the one in the file.

    Attributes:
        pixels: uint8[height, width, 3], RGB; uint8[height, width, 4] may come where
            ``DecodeOptions.keep_image`` is false; the fourth channel has no meaning.
        size: width and height of the image in the file, after its EXIF orientation, in pixels.
    """

    pixels: RgbImage
    size: Size

    @classmethod
    def of(cls, pixels: RgbImage) -> DecodedImage:
        """Return an image of full size."""
        return cls(pixels, (pixels.shape[1], pixels.shape[0]))

    @property
    def scale(self) -> tuple[float, float]:
        """Width and height of the image in the file, divided by those of ``pixels``."""
        height, width = self.pixels.shape[:2]
        return self.size[0] / width, self.size[1] / height


def decode_image(data: bytes, options: DecodeOptions, *, max_pixels: int) -> DecodedImage:
    """Decode an image like ``decode``, at the size and quality that the options ask for.

    Args:
        data: see ``decode``.
        options: channels, chroma and smallest size.
        max_pixels: see ``decode``; it counts the pixels of the file, not of the result.

    Raises:
        UnsupportedImageType: see ``decode``, also for the others.
        ImageTooLarge: more than ``max_pixels``, or a side longer than ``MAX_SIDE``.
        UndecodableImage: the file is damaged.
    """
    header = headers.read(data)
    _check_size(header, max_pixels)
    factor = _reduction(header, options.min_size) if options.min_size else 1
    pixels = _faster(data, header, factor, options)
    if pixels is None:
        plain = png.plain(data) if header.format == "PNG" else data
        pixels = _pixels(plain, cv2.IMREAD_COLOR_RGB | _REDUCED[factor])
    if pixels is None:
        raise UndecodableImage(
            f"the {header.format} is cut off, damaged or of a rare kind; "
            "send the whole file, or save it again as JPEG or PNG"
        )
    if factor == 1:
        return DecodedImage.of(pixels)
    return DecodedImage(pixels, _upright(header, pixels, factor))


def _faster(
    data: bytes, header: headers.Header, factor: int, options: DecodeOptions
) -> RgbImage | None:
    """Decode what can be decoded faster than by ``_pixels``, with the same result, or None."""
    if header.format != "JPEG":
        return None
    is_large = header.width * header.height >= jpeg.LARGE * factor * factor
    if factor == 1 and header.is_plain:
        # The fourth channel of a large image would cost more memory than it saves time.
        return jpeg.decode_plain(data, rgb=options.keep_image or is_large, smooth=options.smooth)
    return jpeg.decode_large(data, cv2.IMREAD_COLOR_RGB | _REDUCED[factor]) if is_large else None


def _reduction(header: headers.Header, min_size: Size) -> int:
    """Return by how much an image can be divided and stay large enough whichever way it lies.

    One that is nearly square is left alone: nobody could tell later how it lay.
    """
    if header.format != "JPEG" or 0 < abs(header.width - header.height) < max(_REDUCED):
        return 1
    smallest = min(header.width, header.height)
    return max(factor for factor in _REDUCED if factor == 1 or smallest // factor >= max(min_size))


def _upright(header: headers.Header, pixels: RgbImage, factor: int) -> Size:
    """Return the size of the file's image after its EXIF orientation, which only pixels show."""
    width, height = header.width, header.height
    is_turned = pixels.shape[:2] != (-(-height // factor), -(-width // factor))
    return (height, width) if is_turned else (width, height)


def decode(data: bytes, *, max_pixels: int) -> RgbImage:
    """Decode an image as it is meant to be seen, upright and in colour.

    The EXIF orientation is applied. Of an animation or a file with several pages the first image
    is taken. Grey, palette, CMYK and 16-bit images become RGB of 8 bits (the upper 8 of 16).
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
    return decode_image(data, DecodeOptions(), max_pixels=max_pixels).pixels


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
    jpeg.silence_opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)
