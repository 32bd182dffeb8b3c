"""Pictures as a network wants them: Darknet's own letterbox and bilinear resize."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from darknet.engines.base import Resize, RgbImage
from darknet.errors import ImageError

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]

PADDING = 0.5
"""What lies around a letterboxed picture, in all three channels."""


@dataclass(frozen=True)
class Placement:
    """Where the resized picture lies in the network's input, in pixels of the input."""

    x: int
    y: int
    width: int
    height: int


def check_image(image: object) -> None:
    """Check that an array is a picture.

    Raises:
        ImageError: it is not uint8[height, width, 3] with at least one pixel.
    """
    expected = "expected a numpy array uint8[height, width, 3] (RGB), at least 1 x 1 pixel"
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{expected}; found {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"{expected}; found {image.dtype}{list(image.shape)}")


@lru_cache(maxsize=256)
def placement(size: tuple[int, int], network: tuple[int, int], resize: Resize) -> Placement:
    """Return where a picture goes in the network's input (letterbox_image of both forks).

    Args:
        size: height and width of the picture.
        network: height and width of the network's input.
        resize: ``letterbox`` keeps the proportions, ``stretch`` fills the input.

    Returns:
        At least one pixel. Darknet rounds down to none for a picture more than a network's width
        times longer than wide, feeds the network grey and divides by zero afterwards.
    """
    net_height, net_width = network
    if resize == "stretch":
        return Placement(0, 0, net_width, net_height)
    height, width = size
    new_width, new_height = net_width, net_height
    if np.float32(net_width) / np.float32(width) < np.float32(net_height) / np.float32(height):
        new_height = max(1, height * net_width // width)
    else:
        new_width = max(1, width * net_height // height)
    x, y = (net_width - new_width) // 2, (net_height - new_height) // 2
    return Placement(x, y, new_width, new_height)


def resize_into(image: RgbImage, out: FloatArray, resize: Resize) -> None:
    """Write a picture into a network's input as Darknet does (resize_image of both forks).

    Corners are mapped to corners: output pixel i lies at i * (in - 1) / (out - 1), and its value
    is interpolated linearly in float, first along x, then along y. There is no antialiasing.

    Args:
        image: uint8[height, width, 3], RGB, checked by ``check_image``.
        out: float32[3, height, width], overwritten: planes red, green, blue, values 0..1.
        resize: see ``placement``.
    """
    height, width = image.shape[:2]
    place = placement((height, width), out.shape[1:], resize)
    rows, columns = _axis(height, place.height), _axis(width, place.width)
    if (place.height, place.width) != out.shape[1:]:
        out.fill(PADDING)
    area = out[:, place.y : place.y + place.height, place.x : place.x + place.width]
    first, second = (_along_x(image[index], columns) for index in (rows.first, rows.second))
    lower, upper = rows.lower[:, None, None], rows.upper[:, None, None]
    area[...] = (lower * first + upper * second).transpose(2, 0, 1)


@dataclass(frozen=True, eq=False)
class _Axis:
    """Output line i is lower[i] * input line first[i] + upper[i] * input line second[i]."""

    first: IndexArray
    second: IndexArray
    lower: FloatArray
    upper: FloatArray


@lru_cache(maxsize=64)
def _axis(size: int, new_size: int) -> _Axis:
    scale = np.float32(size - 1) / np.float32(max(new_size - 1, 1))
    position = np.arange(new_size, dtype=np.float32) * scale
    first = position.astype(np.intp)
    upper = position - first.astype(np.float32)
    return _Axis(first, np.minimum(first + 1, size - 1), np.float32(1) - upper, upper)


def _along_x(rows: RgbImage, columns: _Axis) -> FloatArray:
    values = rows.astype(np.float32) / np.float32(255)
    lower, upper = columns.lower[:, None], columns.upper[:, None]
    return lower * values[:, columns.first] + upper * values[:, columns.second]
