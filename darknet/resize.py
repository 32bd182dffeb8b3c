"""Resize images to a network's input: Darknet's own letterbox and bilinear interpolation.

The coordinates follow Darknet; ``cv2.remap`` of OpenCV 5 interpolates at them in float32.
``benchmarks/resize.py`` compares this with other implementations.
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

from darknet.detections import FloatArray
from darknet.errors import ImageError
from darknet.model import Resize, RgbImage

IndexArray = npt.NDArray[np.intp]
Size = tuple[int, int]
_Lines = slice | IndexArray
T = TypeVar("T", bound=np.generic)

PADDING = 127.5
"""Value of the padding of a letterboxed image in all three channels, 0..255."""

_BLOCK_PIXELS = 1 << 17
"""Pixels of an image that are interpolated at once: 2 MB as floats.

Larger blocks are faster, but evict the data of inference and decoding from the CPU cache.
"""


@dataclass(frozen=True)
class Placement:
    """Position and size of the resized image in the network's input, in pixels of the input."""

    x: int
    y: int
    width: int
    height: int


def check_image(image: object) -> None:
    """Check that an object is an image.

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
    """Return the position of an image in the network's input (letterbox_image of both forks).

    Args:
        size: height and width of the image.
        network: height and width of the network's input.
        resize: ``letterbox`` keeps the aspect ratio, ``stretch`` fills the input.

    Returns:
        A placement of at least one pixel. For an image with an extreme aspect ratio Darknet rounds
        a side down to 0, computes on padding only and then divides by 0.
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
    """Convert boxes from the network's input to an image (correct_yolo_boxes of both forks).

    Darknet letterboxes at integer positions, but subtracts padding with half pixels here.

    Args:
        boxes: float32[n, 4], centre x, centre y, width, height relative to the network's input.
        size: height and width of the image.
        network: height and width of the network's input.
        resize: see ``placement``.

    Returns:
        float32[n, 4], the boxes in pixels of the image.
    """
    placed = placement(size, network, resize)
    (height, width), (net_height, net_width) = size, network
    x, y = width / placed.width, height / placed.height
    scale = np.array((net_width * x, net_height * y) * 2, np.float32)
    left, top = (net_width - placed.width) / 2 * x, (net_height - placed.height) / 2 * y
    return boxes * scale - np.array((left, top, 0, 0), np.float32)


def resize_into(image: RgbImage, out: FloatArray, resize: Resize) -> None:
    """Resize an image into a network's input as Darknet does (resize_image of both forks).

    Corners are aligned: output pixel i is at i * (in - 1) / (out - 1), interpolated bilinearly in
    float32, without antialiasing.

    Args:
        image: see ``RgbImage``, checked by ``check_image``.
        out: float32[3, height, width], RGB, 0..1, overwritten; the padding of a letterboxed image
            is 0.5.
        resize: see ``placement``.
    """
    pixels = _scratch.array("pixels", (*out.shape[1:], 3), np.float32)
    resize_pixels_into(image, pixels, resize)
    to_planes(pixels, out)


def to_planes(pixels: FloatArray, out: FloatArray) -> None:
    """Convert pixels to planes (HWC to CHW) and to 0..1.

    Args:
        pixels: float32[height, width, 3], RGB, 0..255.
        out: float32[3, height, width], overwritten, 0..1.
    """
    cv2.split(pixels, list(out))
    np.multiply(out, np.float32(1 / 255), out=out)


def resize_pixels_into(
    image: RgbImage, out: FloatArray, resize: Resize, *, exact: bool = True
) -> None:
    """Resize like ``resize_into`` into HWC, 0..255.

    Args:
        image: see ``resize_into``.
        out: float32[height, width, 3], RGB, 0..255, overwritten.
        resize: see ``placement``.
        exact: interpolate in float32. False: in integers, in half the time, which is exact enough
            for networks in bf16, whose mantissa has 8 bits.
    """
    size, network = (image.shape[0], image.shape[1]), (out.shape[0], out.shape[1])
    placed = placement(size, network, resize)
    new_size = (placed.height, placed.width)
    if new_size != network:
        out.fill(PADDING)
    area = out[placed.y : placed.y + placed.height, placed.x : placed.x + placed.width]
    if exact:
        sampling = _sampling(size, new_size)
        for block in sampling.blocks:
            _interpolate(image, block, sampling.columns, area[block.target])
    else:
        _interpolate_bytes(image, area)
    _, fade = _row_positions(size[0], placed.height)
    if fade != 1:
        area[-1] *= fade


class _Block(NamedTuple):
    """A few rows of the output, whose source pixels fit into the CPU cache.

    Attributes:
        target: the rows of the output.
        rows: the source rows of the image.
        x: float32[n, new width], coordinate among the sampling's columns, from 0; a view that all
            blocks share.
        y: float32[n, new width], coordinate among ``rows``, from 0.
    """

    target: slice
    rows: _Lines
    x: FloatArray
    y: FloatArray


class _Sampling(NamedTuple):
    """The source coordinates of the output's pixels.

    Attributes:
        columns: the source columns of the image.
        blocks: the rows of the output, from the top.
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
    # With weight 1 it converts uint8 to float32: OpenCV's fastest way, twice as fast as NumPy.
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
    """Return the source pixels as RGBA, with which OpenCV is twice as fast as with RGB."""
    picked: MatLike = _rows(image, rows)
    if isinstance(columns, slice):
        picked = picked[:, columns]
    if picked.shape[2] == 3:
        memory = _scratch.array("rgba", (*picked.shape[:2], 4), np.uint8)
        picked = cv2.cvtColor(picked, cv2.COLOR_RGB2RGBA, dst=memory)
    if isinstance(columns, slice):
        return picked
    # NumPy gathers one 32-bit word per pixel much faster than four bytes.
    pixels = np.ascontiguousarray(picked).view(np.uint32)
    words = _scratch.array("columns", (len(pixels), len(columns), 1), np.uint32)
    return pixels.take(columns, axis=1, out=words, mode="clip").view(np.uint8)


def _rows(image: RgbImage, rows: _Lines) -> RgbImage:
    if isinstance(rows, slice) or not image.flags.c_contiguous:
        return image[rows]
    picked = _scratch.array("rows", (len(rows), *image.shape[1:]), np.uint8)
    return image.take(rows, axis=0, out=picked, mode="clip")


class _Scratch(threading.local):
    """Reusable arrays of one thread, as page faults of new arrays take longer than the resize."""

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type[T]) -> npt.NDArray[T]:
        """Return an array that is valid until the next call with the same name.

        It contains zeros or values of earlier calls, so floats are not NaN.
        """
        try:
            return np.ndarray(shape, dtype, self._arrays[name])
        except (KeyError, TypeError):  # there is none, or it is too small
            self._arrays[name] = array = np.zeros(shape, dtype)
            return array


_scratch = _Scratch()


@lru_cache(maxsize=16)
def _sampling(size: Size, new_size: Size) -> _Sampling:
    """Return the source coordinates; cached, as computing them takes half the time of a resize."""
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
    """Return the lines (rows or columns) around ascending positions, and the positions among them.

    The lines are a range from first to last, or, if that has more than ``gather`` lines per
    position, the two neighbours of each position. It is exact: differences of positions are exact
    in float32, and position i is never before line 2 * i among the pairs.
    """
    first = positions.astype(np.intp)
    start, stop = int(first[0]), min(int(first[-1]) + 2, size)
    if stop - start <= gather * len(positions):
        return slice(start, stop), positions - np.float32(start)
    lines = np.minimum(np.stack((first, first + 1), axis=1).ravel(), size - 1)
    fractions = positions - first.astype(np.float32)
    return lines, np.arange(0, len(lines), 2, dtype=np.float32) + fractions


def _column_positions(size: int, new_size: int) -> FloatArray:
    """Return the source column of each output column; the last one is exact."""
    positions = _positions(size, new_size)
    positions[-1] = size - 1
    return positions


@lru_cache(maxsize=16)
def _row_positions(size: int, new_size: int) -> tuple[FloatArray, np.float32]:
    """Return the source row of each output row, and a factor for the values of the last one.

    Darknet adds no second source row to the last output row, even if rounding has placed it just
    above the last source row: 480 rows resized to 240 end in a black row. Networks were trained so.
    """
    positions = _positions(size, new_size)
    if new_size == 1:
        positions[-1] = size - 1  # Darknet divides by zero here
    whole = np.floor(positions[-1])
    fade = 1 - (positions[-1] - whole)
    positions[-1] = whole
    return positions, fade


def _positions(size: int, new_size: int) -> FloatArray:
    """Return aligned source positions in float32, as in C, with the same rounding."""
    return np.arange(new_size, dtype=np.float32) * _step(size, new_size)


def _line(size: int, new_size: int) -> tuple[np.float32, int]:
    """Return scale and offset from output to source; a single output pixel is the last source."""
    return _step(size, new_size), size - 1 if new_size == 1 else 0


def _step(size: int, new_size: int) -> np.float32:
    return np.float32(size - 1) / np.float32(max(new_size - 1, 1))
