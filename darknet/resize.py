"""Images as a network wants them: Darknet's own letterbox and bilinear resize.

OpenCV does the arithmetic, Darknet's rules the coordinates: ``cv2.remap`` of version 5 interpolates
in float at the float coordinates that it is given. ``benchmarks/resize.py`` compares this with
other ways to compute the same.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from darknet.errors import ImageError
from darknet.model import Resize, RgbImage

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]
Size = tuple[int, int]
_Lines = slice | IndexArray
T = TypeVar("T", bound=np.generic)

PADDING = 127.5
"""What lies around a letterboxed image, in all three channels, of 0..255."""

_BLOCK_PIXELS = 1 << 17
"""Pixels of an image that are interpolated at once: 2 MB as floats.

Larger blocks are faster by themselves, and push out of the cache what inference and decoding need.
"""


@dataclass(frozen=True)
class Placement:
    """Where the resized image lies in the network's input, in pixels of the input."""

    x: int
    y: int
    width: int
    height: int


def check_image(image: object) -> None:
    """Check that an array is an image.

    Raises:
        ImageError: it is not uint8[height, width, 3 or 4] with at least one pixel.
    """
    expected = "expected a numpy array uint8[height, width, 3] (RGB), at least 1 x 1 pixel"
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{expected}; found {type(image).__name__}")
    is_bytes = image.dtype == np.uint8 and image.ndim == 3
    if not is_bytes or image.shape[2] not in (3, 4) or not image.size:
        raise ImageError(f"{expected}; found {image.dtype}{list(image.shape)}")


@lru_cache(maxsize=256)
def placement(size: tuple[int, int], network: tuple[int, int], resize: Resize) -> Placement:
    """Return where an image goes in the network's input (letterbox_image of both forks).

    Args:
        size: height and width of the image.
        network: height and width of the network's input.
        resize: ``letterbox`` keeps the proportions, ``stretch`` fills the input.

    Returns:
        At least one pixel. Darknet rounds an image whose sides differ by more than the network's
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


def undo_resize(boxes: FloatArray, size: Size, network: Size, resize: Resize) -> FloatArray:
    """Bring boxes back to an image (correct_yolo_boxes of both forks).

    Darknet letterboxes at whole pixels, but takes half pixels of padding for real here.

    Args:
        boxes: float32[n, 4], centre x, centre y, width, height in parts of the network's input.
        size: height and width of the image.
        network: height and width of the network's input.
        resize: see ``placement``.

    Returns:
        float32[n, 4], the same in pixels of the image.
    """
    place = placement(size, network, resize)
    (height, width), (net_height, net_width) = size, network
    x, y = width / place.width, height / place.height
    scale = np.array((net_width * x, net_height * y) * 2, np.float32)
    left, top = (net_width - place.width) / 2 * x, (net_height - place.height) / 2 * y
    return boxes * scale - np.array((left, top, 0, 0), np.float32)


def resize_into(image: RgbImage, out: FloatArray, resize: Resize) -> None:
    """Write an image into a network's input as Darknet does (resize_image of both forks).

    Corners are mapped to corners: output pixel i lies at i * (in - 1) / (out - 1), and its value
    is interpolated linearly in float. There is no antialiasing.

    Args:
        image: see ``RgbImage``, checked by ``check_image``.
        out: float32[3, height, width], overwritten: planes red, green, blue, values 0..1, grey
            (0.5) around a letterboxed image.
        resize: see ``placement``.
    """
    pixels = _scratch.array("pixels", (*out.shape[1:], 3), np.float32)
    resize_pixels_into(image, pixels, resize)
    to_planes(pixels, out)


def to_planes(pixels: FloatArray, out: FloatArray) -> None:
    """Write pixels as the planes that Darknet works with.

    Args:
        pixels: float32[height, width, 3], red first, 0..255.
        out: float32[3, height, width], overwritten, 0..1.
    """
    cv2.split(pixels, list(out))
    np.multiply(out, np.float32(1 / 255), out=out)


def resize_pixels_into(
    image: RgbImage, out: FloatArray, resize: Resize, *, exact: bool = True
) -> None:
    """Resize like ``resize_into``, and leave the pixels as they are.

    Args:
        image: see ``resize_into``.
        out: float32[height, width, 3], overwritten: red first, values 0..255.
        resize: see ``placement``.
        exact: or else rounded to whole numbers, in half the time, which is enough for a network
            that computes in bf16: of a pixel that keeps 8 bits.
    """
    size, network = (image.shape[0], image.shape[1]), (out.shape[0], out.shape[1])
    place = placement(size, network, resize)
    new_size = (place.height, place.width)
    if new_size != network:
        out.fill(PADDING)
    area = out[place.y : place.y + place.height, place.x : place.x + place.width]
    if exact:
        sampling = _sampling(size, new_size)
        for block in sampling.blocks:
            _interpolate(image, block, sampling.columns, area[block.target])
    else:
        _interpolate_bytes(image, area)
    _, fade = _row_positions(size[0], place.height)
    if fade != 1:
        area[-1] *= fade


class _Block(NamedTuple):
    """Some rows of the output, few enough for their pixels to stay in the processor's cache.

    Attributes:
        target: which rows of the output.
        rows: the rows of the image that they are made of.
        x: float32[n, new width], the column among the sampling's columns, from 0; all blocks
            share its memory.
        y: float32[n, new width], the row among ``rows``, from 0.
    """

    target: slice
    rows: _Lines
    x: FloatArray
    y: FloatArray


class _Sampling(NamedTuple):
    """Where the pixels of the output come from.

    Attributes:
        columns: the columns of the image that matter.
        blocks: all rows of the output, from the top.
    """

    columns: _Lines
    blocks: tuple[_Block, ...]


def _interpolate_bytes(image: RgbImage, out: FloatArray) -> None:
    height, width, channels = *out.shape[:2], image.shape[2]
    (x, left), (y, top) = (_line(image.shape[axis], out.shape[axis]) for axis in (1, 0))
    pixels = cv2.warpAffine(
        image,
        np.array(((x, 0, left), (0, y, top))),
        (width, height),
        dst=_scratch.array("bytes", (height, width, channels), np.uint8),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if channels == 4:
        rgb = _scratch.array("rgb", (height, width, 3), np.uint8)
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB, dst=rgb)
    np.copyto(out, pixels)


def _interpolate(image: RgbImage, block: _Block, columns: _Lines, out: FloatArray) -> None:
    pixels = _pixels(image, block.rows, columns)
    floats = _scratch.array("floats", pixels.shape, np.float32)
    # A running average that forgets: OpenCV's fastest way from bytes to floats, twice NumPy's.
    cv2.accumulateWeighted(pixels, floats, 1.0)
    values = cv2.remap(
        floats,
        block.x,
        block.y,
        cv2.INTER_LINEAR,
        dst=_scratch.array("values", (*block.x.shape, 4), np.float32),
        borderMode=cv2.BORDER_REPLICATE,
        hint=cv2.ALGO_HINT_ACCURATE,
    )
    cv2.cvtColor(values, cv2.COLOR_RGBA2RGB, dst=out)


def _pixels(image: RgbImage, rows: _Lines, columns: _Lines) -> MatLike:
    """Return the pixels that matter as RGBA: OpenCV is twice as fast with four channels."""
    picked: MatLike = _rows(image, rows)
    if isinstance(columns, slice):
        picked = picked[:, columns]
    if picked.shape[2] == 3:
        memory = _scratch.array("rgba", (*picked.shape[:2], 4), np.uint8)
        picked = cv2.cvtColor(picked, cv2.COLOR_RGB2RGBA, dst=memory)
    if isinstance(columns, slice):
        return picked
    # NumPy gathers one word much faster than four bytes.
    pixels = np.ascontiguousarray(picked).view(np.uint32)
    words = _scratch.array("columns", (len(pixels), len(columns), 1), np.uint32)
    return pixels.take(columns, axis=1, out=words, mode="clip").view(np.uint8)


def _rows(image: RgbImage, rows: _Lines) -> RgbImage:
    if isinstance(rows, slice) or not image.flags.c_contiguous:
        return image[rows]
    picked = _scratch.array("rows", (len(rows), *image.shape[1:]), np.uint8)
    return image.take(rows, axis=0, out=picked, mode="clip")


class _Scratch(threading.local):
    """Arrays of one thread, used again and again: the page faults of new ones cost more than all.

    They stay small, because blocks are.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type[T]) -> npt.NDArray[T]:
        """Return an array, valid until the name is asked for again.

        Its values are zeros or what the name held before, so among floats there is no NaN.
        """
        try:
            return np.ndarray(shape, dtype, self._arrays[name])
        except (KeyError, TypeError):  # there is none yet, or it is too small
            self._arrays[name] = array = np.zeros(shape, dtype)
            return array


_scratch = _Scratch()


@lru_cache(maxsize=16)
def _sampling(size: Size, new_size: Size) -> _Sampling:
    """Darknet's coordinates; cached, because making them takes half as long as using them."""
    columns, x = _needed(_column_positions(size[1], new_size[1]), size[1], gather=5)
    y, _ = _row_positions(size[0], new_size[0])
    width = size[1] if isinstance(columns, slice) else len(columns)
    step = max(1, _BLOCK_PIXELS // max(2 * width, len(x)))
    grid = np.tile(x, (min(step, len(y)), 1))
    blocks = (slice(start, start + step) for start in range(0, len(y), step))
    return _Sampling(columns, tuple(_block(part, grid, y[part], size[0]) for part in blocks))


def _block(target: slice, x: FloatArray, positions: FloatArray, height: int) -> _Block:
    rows, y = _needed(positions, height, gather=2)
    return _Block(target, rows, x[: len(y)], np.repeat(y[:, None], x.shape[1], axis=1))


def _needed(positions: FloatArray, size: int, gather: int) -> tuple[_Lines, FloatArray]:
    """Find the lines (rows or columns) around rising positions, and the positions among them.

    All from the first to the last, or, where that would be more than ``gather`` for each position,
    the two around each. No digit is lost: differences of positions are exact in float, and
    line 2 * i among pairs is never behind position i.
    """
    first = positions.astype(np.intp)
    start, stop = int(first[0]), min(int(first[-1]) + 2, size)
    if stop - start <= gather * len(positions):
        return slice(start, stop), positions - np.float32(start)
    lines = np.minimum(np.stack((first, first + 1), axis=1).ravel(), size - 1)
    fractions = positions - first.astype(np.float32)
    return lines, np.arange(0, len(lines), 2, dtype=np.float32) + fractions


def _column_positions(size: int, new_size: int) -> FloatArray:
    """Where each output column lies in the image; the last is the last, without rounding."""
    positions = _positions(size, new_size)
    positions[-1] = size - 1
    return positions


@lru_cache(maxsize=16)
def _row_positions(size: int, new_size: int) -> tuple[FloatArray, np.float32]:
    """Where each output row lies in the image, and how much of the last one is left.

    Darknet mixes no second row into the last one, also where rounding has put it just above the
    last row of the image: 480 rows made 240 end in a black row. Networks see it, so it is kept.
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
    return np.arange(new_size, dtype=np.float32) * _step(size, new_size)


def _line(size: int, new_size: int) -> tuple[np.float32, int]:
    """Return what output pixels are multiplied with, and what is added; one alone is the last."""
    return _step(size, new_size), size - 1 if new_size == 1 else 0


def _step(size: int, new_size: int) -> np.float32:
    return np.float32(size - 1) / np.float32(max(new_size - 1, 1))
