"""Decoding of JPEG, PNG, GIF, WebP, BMP and TIFF files to RGB arrays, within limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from darknet.model import RgbImage
from yolo_service.errors import ImageTooLarge, UndecodableImage
from yolo_service.images import image_header, jpeg, png
from yolo_service.images.isolated import DecoderProcesses
from yolo_service.images.opencv import decode_by_opencv

if TYPE_CHECKING:
    from darknet.network import Network
    from yolo_service.settings import Decode

MAX_SIDE = 32_767
"""Pixels; OpenCV's geometric functions keep coordinates in 16 bits."""

Size = tuple[int, int]
"""Width and height in pixels."""

LARGE = 4_000_000
"""Pixels from which a fourth channel is not decoded, because of its memory."""

_SIDES_SWAPPED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


PROCESSES = DecoderProcesses()
"""For all images of this process that are not plain; none is started before the first one."""


@dataclass(frozen=True)
class DecodeOptions:
    """How an image is decoded; the defaults give the full image in RGB.

    Attributes:
        keep_image: whether the image is used after detection, for example drawn on: it then has
            three channels. Else there may be a fourth, which makes decoding and resizing faster.
        smooth: whether the subsampled chroma of a JPEG is interpolated as by OpenCV, or repeated.
        min_size: a JPEG is decoded at 4/8, 3/8, 2/8 or 1/8 of its size if it stays at least this
            large in either orientation; None: full size.
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
        pixels: uint8[height, width, 3], RGB; or 4 channels, of which the last has no meaning, if
            ``DecodeOptions.keep_image`` is false.
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


class ImageDecoder:
    """Decodes plain images in the calling thread, and others in a process of their own.

    Args:
        max_pixels: largest width * height; it counts the pixels of the file, not of the result.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels

    def decode_plain(self, data: bytes, options: DecodeOptions) -> DecodedImage | None:
        """Decode an image whose time and memory follow from its size; None if it is another.

        Args:
            data: see ``decode``.
            options: channels, chroma and smallest size.

        Raises:
            UnsupportedImageType: see ``decode``, also for the others.
            ImageTooLarge: more than ``max_pixels``, or a side longer than ``MAX_SIDE``.
            UndecodableImage: the file is damaged.
        """
        header = self._header(data)
        if not header.is_plain:
            return None
        if header.format == "PNG":
            pixels = decode_by_opencv(png.strip(data))
            if pixels is None:
                raise _undecodable(header.format)
            return DecodedImage.of(pixels)
        return _decode_jpeg(data, header, options)

    def decode_isolated(self, data: bytes) -> DecodedImage:
        """Decode any image at full size, in a process of its own; raises as ``decode_plain``."""
        pixels = PROCESSES.decode(data, self.decoded_bytes(data))
        if pixels is None:
            raise _undecodable(self._header(data).format)
        return DecodedImage.of(pixels)

    def decoded_bytes(self, data: bytes) -> int:
        """Return the size of an image's pixels by its header; raises as ``decode_plain``."""
        header = self._header(data)
        return 3 * header.width * header.height

    def decode(self, data: bytes, options: DecodeOptions) -> DecodedImage:
        """Decode any image; raises as ``decode_plain`` does."""
        return self.decode_plain(data, options) or self.decode_isolated(data)

    def _header(self, data: bytes) -> image_header.Header:
        header = image_header.read(data)
        _check_size(header, self._max_pixels)
        return header


def _decode_jpeg(
    data: bytes, header: image_header.Header, options: DecodeOptions
) -> DecodedImage | None:
    """Decode a JPEG faster than OpenCV, to the same pixels; None if it is damaged."""
    pixels = jpeg.decode_jpeg(
        data,
        orientation=header.orientation or 1,
        rgb=options.keep_image or header.width * header.height >= LARGE,
        smooth=options.smooth,
        min_side=max(options.min_size or (0, 0)),
    )
    size = (header.width, header.height)
    if pixels is None:
        return None
    return DecodedImage(pixels, size[::-1] if header.orientation in _SIDES_SWAPPED else size)


def size_of(image: bytes | RgbImage) -> Size:
    """Return (width, height) of an image, encoded or decoded, before its orientation is applied.

    Raises:
        UnsupportedImageType: see ``decode``.
        UndecodableImage: the header is damaged.
    """
    if isinstance(image, bytes):
        header = image_header.read(image)
        return header.width, header.height
    height, width = image.shape[:2]
    return width, height


def decode_image(data: bytes, options: DecodeOptions, *, max_pixels: int) -> DecodedImage:
    """Decode an image like ``decode``, at the size and quality that the options ask for."""
    return ImageDecoder(max_pixels).decode(data, options)


def decode(data: bytes, *, max_pixels: int) -> RgbImage:
    """Decode an image to upright RGB of full size.

    The EXIF orientation is applied. Of an animation or a file with several pages the first image
    is taken. Grey, palette, CMYK and 16-bit images become RGB of 8 bits (the upper 8 of 16).
    Transparency is dropped, not blended, as by Darknet, which decodes with OpenCV, too. (TIFF is
    blended with black.) The GIL is released while the image is decoded.

    Args:
        data: a complete JPEG, PNG, GIF, WebP, BMP or TIFF file.
        max_pixels: largest width * height that is decoded.

    Returns:
        uint8[height, width, 3], RGB.

    Raises:
        UnsupportedImageType: not one of these formats.
        ImageTooLarge: more than ``max_pixels``, or a side longer than ``MAX_SIDE``.
        UndecodableImage: empty, cut off, damaged, of a kind that OpenCV does not decode (for
            example a TIFF of floats), or made to exhaust the decoder.
    """
    return decode_image(data, DecodeOptions(), max_pixels=max_pixels).pixels


def _check_size(header: image_header.Header, max_pixels: int) -> None:
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


def _undecodable(kind: str) -> UndecodableImage:
    return UndecodableImage(
        f"the {kind} is cut off, damaged, of a rare kind, or needs too much time or memory; "
        "send the whole file, or save it again as JPEG or PNG"
    )
