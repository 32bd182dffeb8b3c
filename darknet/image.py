"""Pictures as a network wants them: Darknet's own letterbox and bilinear resize.

OpenCV does the arithmetic, Darknet's rules the coordinates: ``cv2.remap`` of version 5 interpolates
in float at the float coordinates that it is given. ``benchmarks/resize.py`` compares this with
other ways to compute the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from darknet.engines.base import Resize, RgbImage
from darknet.errors import ImageError

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]
Size = tuple[int, int]

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
        At least one pixel. Darknet rounds a picture whose sides differ by more than the network's
        size down to nothing, feeds the network plain grey and divides by zero afterwards.
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
    is interpolated linearly in float. There is no antialiasing.

    Args:
        image: uint8[height, width, 3], RGB, checked by ``check_image``.
        out: float32[3, height, width], overwritten: planes red, green, blue, values 0..1, grey
            (0.5) around a letterboxed picture.
        resize: see ``placement``.
    """
    size, network = (image.shape[0], image.shape[1]), (out.shape[1], out.shape[2])
    place = placement(size, network, resize)
    if (place.height, place.width) != network:
        out.fill(PADDING)
    area = out[:, place.y : place.y + place.height, place.x : place.x + place.width]
    _interpolate(image, _sampling(size, (place.height, place.width)), area)


class _Sampling(NamedTuple):
    """Where the pixels of the output come from.

    Attributes:
        rows: the rows of the picture that matter; None if these are most of them.
        columns: the same for columns.
        x: float32[new height, new width], among ``columns``, from 0.
        y: the same among ``rows``.
        fade: what the last row of the output is multiplied with.
    """

    rows: IndexArray | None
    columns: IndexArray | None
    x: FloatArray
    y: FloatArray
    fade: np.float32


def _interpolate(image: RgbImage, sampling: _Sampling, area: FloatArray) -> None:
    pixels = _pixels(image, sampling)
    values = cv2.remap(
        pixels.astype(np.float32),
        sampling.x,
        sampling.y,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
        hint=cv2.ALGO_HINT_ACCURATE,
    )
    np.multiply(values, np.float32(1 / 255), out=values)
    np.multiply(values[-1], sampling.fade, out=values[-1])
    cv2.split(values, [*area, np.empty(area.shape[1:], np.float32)])


def _pixels(image: RgbImage, sampling: _Sampling) -> MatLike:
    """Return the pixels that matter, as RGBA: OpenCV is twice as fast with four channels."""
    rows = image if sampling.rows is None else image[sampling.rows]
    pixels = cv2.cvtColor(rows, cv2.COLOR_RGB2RGBA)
    if sampling.columns is None:
        return pixels
    words = pixels.view(np.uint32)[..., 0]  # NumPy gathers one word much faster than four bytes
    return words.take(sampling.columns, axis=1)[..., None].view(np.uint8)


@lru_cache(maxsize=16)
def _sampling(size: Size, new_size: Size) -> _Sampling:
    """Darknet's coordinates; cached, because making them takes half as long as using them."""
    y, fade = _row_positions(size[0], new_size[0])
    rows, y = _needed(y, size[0])
    columns, x = _needed(_column_positions(size[1], new_size[1]), size[1])
    x_map = np.tile(x, (len(y), 1))
    y_map = np.repeat(y[:, None], len(x), axis=1)
    return _Sampling(rows, columns, x_map, y_map, fade)


def _column_positions(size: int, new_size: int) -> FloatArray:
    """Where each output column lies in the picture; the last is the last, without rounding."""
    positions = _positions(size, new_size)
    positions[-1] = size - 1
    return positions


def _row_positions(size: int, new_size: int) -> tuple[FloatArray, np.float32]:
    """Where each output row lies in the picture, and how much of the last one is left.

    Darknet mixes no second row into the last one, also where rounding has put it just above the
    last row of the picture: 480 rows made 240 end in a black row. Networks see it, so it is kept.
    """
    positions = _positions(size, new_size)
    if new_size == 1:
        positions[-1] = size - 1  # Darknet divides by zero here
    whole = np.floor(positions[-1])
    fade = 1 - (positions[-1] - whole)
    positions[-1] = whole
    return positions, fade


def _positions(size: int, new_size: int) -> FloatArray:
    """Corner to corner, in single precision as in C: its rounding decides the last digits."""
    scale = np.float32(size - 1) / np.float32(max(new_size - 1, 1))
    return np.arange(new_size, dtype=np.float32) * scale


def _needed(positions: FloatArray, size: int) -> tuple[IndexArray | None, FloatArray]:
    """Pick the two lines around each position if others can be left out.

    Returns:
        The lines, or None for all, and the positions among them. No digit is lost: line 2 * i
        never lies behind the position it stands for.
    """
    if size <= 2 * len(positions):
        return None, positions
    first = positions.astype(np.intp)
    lines = np.minimum(np.stack((first, first + 1), axis=1).ravel(), size - 1)
    fractions = positions - first.astype(np.float32)
    return lines, np.arange(0, len(lines), 2, dtype=np.float32) + fractions
