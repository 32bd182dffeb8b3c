"""Detection in tiles: small objects in large images, without doubles at the seams.

An image is cut into overlapping tiles, each of which the network sees at its own input size; the
image as a whole is detected in as well, for the objects that are larger than a tile. ``merge``
makes the detections in one image of those in its views.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from darknet.cfg import InputSize
from darknet.decode import MAX_CANDIDATES
from darknet.decode.candidates import IndexArray
from darknet.decode.nms import BoolArray
from darknet.detections import Detections, FloatArray, IntArray
from darknet.errors import ImageError
from darknet.model import RgbImage

MAX_TILES = 256
"""Most tiles of an image."""
DEFAULT_OVERLAP = 0.2
MAX_OVERLAP = 0.5
EXPECTED = "auto, or columns x rows such as 2x2, with 2x2:0.3 for tiles that overlap by 0.3"

_TEXT = re.compile(r"(?:(auto)|(\d{1,3})x(\d{1,3}))(?::(0(?:\.\d{1,3})?))?", re.ASCII)
_AUTO_SCALE = 2.0
"""A tile of ``auto`` is at most so many times as wide and as high as the network's input."""
_CUT_MARGIN = 0.02
"""Part of a tile's side: a box that ends so near to a seam may go on behind it."""
_ROUNDING = 1e-6
"""Pixels by which a floating-point edge may miss a whole one."""
_LEAST_PART = 0.1
"""Part of a box that another one has to cover if both are of one object."""


class Area(NamedTuple):
    """A part of an image in whole pixels; ``right`` and ``bottom`` are outside of it."""

    left: int
    top: int
    right: int
    bottom: int

    def view(self, image: RgbImage) -> RgbImage:
        """Return this part of an image; nothing is copied."""
        return image[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles.

    Attributes:
        columns: number of tiles side by side; 0: as many as the image needs, rows too.
        rows: number of tiles one below the other.
        overlap: part of a tile that its neighbour sees too, 0..0.5. An object that is no larger is
            seen whole by one of them.
    """

    columns: int
    rows: int
    overlap: float = DEFAULT_OVERLAP

    @classmethod
    def parse(cls, text: str) -> Tiling:
        """Read ``auto``, ``2x2`` or ``2x2:0.3``.

        Raises:
            ImageError: it is something else, or more than ``MAX_TILES`` tiles.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ImageError(f"expected {EXPECTED}; found {text[:20]!r}")
        columns, rows = (0, 0) if found[1] else (int(found[2]), int(found[3]))
        overlap = float(found[4]) if found[4] else DEFAULT_OVERLAP
        if not (found[1] or 1 <= columns * rows <= MAX_TILES) or overlap > MAX_OVERLAP:
            raise ImageError(
                f"expected 1 to {MAX_TILES} tiles and an overlap from 0 to {MAX_OVERLAP}; "
                f"found {text!r}"
            )
        return cls(columns, rows, overlap)

    def areas(self, size: InputSize, network: InputSize, most: int = MAX_TILES) -> tuple[Area, ...]:
        """Return the parts of an image to detect in: all of it, and then its tiles if it has some.

        Args:
            size: (width, height) of the image in pixels.
            network: (width, height) of the network's input.
            most: most tiles that ``auto`` makes; fixed numbers are not changed.
        """
        whole = Area(0, 0, *size)
        columns, rows = self._grid(size, network, most)
        if columns * rows == 1:
            return (whole,)
        across = _intervals(size[0], columns, self.overlap)
        down = _intervals(size[1], rows, self.overlap)
        tiles = (Area(x[0], y[0], x[1], y[1]) for y in down for x in across)
        return (whole, *tiles)

    def _grid(self, size: InputSize, network: InputSize, most: int) -> tuple[int, int]:
        if self.columns:
            return self.columns, self.rows
        scale = _AUTO_SCALE
        while True:
            columns, rows = (
                max(1, math.ceil((side / (scale * net) - self.overlap) / (1 - self.overlap)))
                for side, net in zip(size, network, strict=True)
            )
            if columns * rows <= max(1, most):
                return columns, rows
            scale *= 1.1


def merge(areas: Sequence[Area], found: Sequence[Detections], nms: float) -> Detections:
    """Return the detections in an image, most confident first, of those in parts of it.

    Two boxes of one class are of the same object if they overlap by more than ``nms`` within what
    both views have seen. The most confident one stays, but boxes that are cut off at a seam only if
    there is no other: these are joined, with the confidence of the least. One that is cut off and
    has no counterpart in another view is dropped, because most of them are parts of larger objects.

    Args:
        areas: the parts, the whole image first.
        found: the detections in each, in pixels of that part.
        nms: largest overlap (IoU) of two boxes of one class, 0..1; 0 keeps every box.
    """
    if len(found) == 1:
        return found[0]
    views = _collect(areas, found)
    kept: list[int] = []
    for class_id in np.unique(views.class_ids):
        rows = np.flatnonzero(views.class_ids == class_id)
        kept += _merge_class(views, rows, nms).tolist() if nms > 0 else rows.tolist()
    low, high = views.boxes[kept, :2], views.boxes[kept, 2:]
    boxes = np.concatenate(((low + high) / 2, high - low), axis=1)
    merged = Detections(boxes, views.scores[kept], views.class_ids[kept], found[0].names)
    return merged.by_score()


def _intervals(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """Return (first, behind the last) of equal parts of a line that overlap."""
    part = length / (count - (count - 1) * overlap)
    starts = (number * part * (1 - overlap) for number in range(count))
    return [
        (math.floor(start + _ROUNDING), min(length, math.ceil(start + part - _ROUNDING)))
        for start in starts
    ]


class _Views(NamedTuple):
    """Detections of all views in pixels of the image, most confident first.

    Attributes:
        boxes: float32[n, 4], left, top, right, bottom.
        seen: float32[n, 4], the same of the view.
        is_cut: bool[n], whether the box ends at a seam.
        scores: float32[n].
        class_ids: int32[n].
    """

    boxes: FloatArray
    seen: FloatArray
    is_cut: BoolArray
    scores: FloatArray
    class_ids: IntArray


def _collect(areas: Sequence[Area], found: Sequence[Detections]) -> _Views:
    """Collect the detections of all views, of too many the most confident."""
    seen = np.repeat(np.array(areas, np.float32), [len(each) for each in found], axis=0)
    boxes = np.concatenate([each.corners for each in found]) + np.tile(seen[:, :2], 2)
    is_cut = _ends_at_seam(boxes, seen, np.array(areas[0], np.float32))
    scores = np.concatenate([each.scores for each in found])
    class_ids = np.concatenate([each.class_ids for each in found])
    best = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    return _Views(boxes[best], seen[best], is_cut[best], scores[best], class_ids[best])


def _ends_at_seam(boxes: FloatArray, seen: FloatArray, whole: FloatArray) -> BoolArray:
    margin = _CUT_MARGIN * np.tile(seen[:, 2:] - seen[:, :2], 2)
    distance = (boxes - seen) * np.array((1, 1, -1, -1), np.float32)
    ends: BoolArray = ((distance < margin) & (seen != whole)).any(axis=1)
    return ends


def _merge_class(views: _Views, rows: IndexArray, nms: float) -> IndexArray:
    """Return which rows of a class stay; boxes that are cut off may have been joined in place."""
    kept = np.empty(0, np.intp)
    joined = np.zeros(len(views.boxes), np.bool_)
    for row in rows[np.argsort(views.is_cut[rows], kind="stable")]:
        near = kept[_touch(views.boxes[row], views.boxes.take(kept, axis=0))]
        same = near[_same_object(views, row, near, nms)] if len(near) else near
        if not len(same):
            kept = np.append(kept, row)
        elif views.is_cut[row] and views.is_cut[same].all():
            _join(views, (same[0], *same[1:], row))
            joined[same[0]] = True
            kept = kept[~np.isin(kept, same[1:])]
    return kept[~views.is_cut[kept] | joined[kept]]


def _touch(box: FloatArray, others: FloatArray) -> BoolArray:
    left, top, right, bottom = others.T
    touch: BoolArray = (left < box[2]) & (right > box[0]) & (top < box[3]) & (bottom > box[1])
    return touch


def _same_object(views: _Views, row: int, others: IndexArray, nms: float) -> BoolArray:
    """Return which other boxes are of the same object as one box."""
    box, seen = views.boxes[row], views.seen[row]
    boxes, others_seen = views.boxes[others], views.seen[others]
    common = _intersection(seen, others_seen)
    first, second = _intersection(box, common), _intersection(boxes, common)
    shared = _area(_intersection(first, second))
    union = _area(first) + _area(second) - shared
    is_large = shared >= _LEAST_PART * np.minimum(_area(box), _area(boxes))
    is_other_view = (others_seen != seen).any(axis=1)  # within a view NMS has decided already
    same: BoolArray = (shared > nms * union) & is_large & is_other_view
    return same


def _join(views: _Views, parts: tuple[int, ...]) -> None:
    """Make the first of some parts of an object the whole, as confident as the least of them."""
    chosen = list(parts)
    for corners in (views.boxes, views.seen):
        low, high = corners[chosen, :2].min(axis=0), corners[chosen, 2:].max(axis=0)
        corners[parts[0]] = (*low, *high)
    views.scores[parts[0]] = views.scores[chosen].min()


def _intersection(a: FloatArray, b: FloatArray) -> FloatArray:
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return np.concatenate((low, high), axis=-1)


def _area(corners: FloatArray) -> FloatArray:
    sides = np.maximum(corners[..., 2:] - corners[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)
