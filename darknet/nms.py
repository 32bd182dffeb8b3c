"""Non-maximum suppression: of boxes of one class that overlap, only the best stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

_BLOCK = 256
"""Rows compared with the others at once: bounds the memory for many thousand boxes."""


def suppress(
    boxes: FloatArray,
    scores: FloatArray,
    class_ids: IntArray,
    threshold: float,
    diou_beta: float | None = None,
) -> BoolArray:
    """Tell which boxes stay (do_nms_sort and diounms_sort of Darknet's box.c).

    Within a class, from the highest score down, a box that stays removes every later one whose
    overlap with it is above the threshold.

    Args:
        boxes: float32[n, 4], centre x, centre y, width, height.
        scores: float32[n].
        class_ids: int32[n]; boxes of different classes never remove each other.
        threshold: overlaps strictly above it are removed; 0 turns suppression off.
        diou_beta: None for plain intersection over union; otherwise (distance of the centres /
            diagonal of the enclosing box) ** (2 * diou_beta) is taken off it.

    Returns:
        bool[n]. Ties are decided in the order given. A box with a NaN or an infinity stays.
    """
    alive = np.ones(len(scores), np.bool_)
    if threshold == 0 or len(scores) < 2:
        return alive
    order = np.lexsort((-scores, class_ids))
    ranked, classes = _Boxes(boxes[order], diou_beta), class_ids[order]
    ends = np.searchsorted(classes, classes, side="right")
    with np.errstate(all="ignore"):
        for start in range(0, len(order), _BLOCK):
            stop = min(start + _BLOCK, len(order))
            rows = start + np.flatnonzero(alive[start:stop])
            columns = start + np.flatnonzero(alive[start : ends[stop - 1]])
            beaten = ranked.overlap(rows, columns) > np.float32(threshold)
            beaten &= (classes[rows, None] == classes[columns]) & (rows[:, None] < columns)
            for row in np.flatnonzero(beaten.any(axis=1)):
                if alive[rows[row]]:
                    alive[columns[beaten[row]]] = False
    keep = np.empty_like(alive)
    keep[order] = alive
    return keep


class _Boxes:
    """Sides, areas and centres of boxes, each float32[n]."""

    def __init__(self, boxes: FloatArray, diou_beta: float | None) -> None:
        self.x, self.y, width, height = boxes.T
        half_width, half_height = width / 2, height / 2
        self.left, self.right = self.x - half_width, self.x + half_width
        self.top, self.bottom = self.y - half_height, self.y + half_height
        self.area = width * height
        self.beta = diou_beta

    def overlap(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> FloatArray:
        """Return float32[len(rows), len(columns)], 0..1, or below 0 with the distance term."""
        left, right = self.left[rows, None], self.right[rows, None]
        top, bottom = self.top[rows, None], self.bottom[rows, None]
        width = np.minimum(right, self.right[columns]) - np.maximum(left, self.left[columns])
        height = np.minimum(bottom, self.bottom[columns]) - np.maximum(top, self.top[columns])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        overlap: FloatArray = shared / (self.area[rows, None] + self.area[columns] - shared)
        if self.beta is None:
            return overlap
        return overlap - self._distance(rows, columns) ** np.float32(self.beta)

    def _distance(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> FloatArray:
        """Squared distance of the centres, in squared diagonals of the enclosing box."""
        left, right = self.left[rows, None], self.right[rows, None]
        top, bottom = self.top[rows, None], self.bottom[rows, None]
        width = np.maximum(right, self.right[columns]) - np.minimum(left, self.left[columns])
        height = np.maximum(bottom, self.bottom[columns]) - np.minimum(top, self.top[columns])
        dx, dy = self.x[rows, None] - self.x[columns], self.y[rows, None] - self.y[columns]
        diagonal = width**2 + height**2
        distance: FloatArray = (dx**2 + dy**2) / np.where(diagonal == 0, 1, diagonal)
        return distance
