"""Non-maximum suppression: of boxes of one class that overlap, only the best stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from darknet.detections import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]

_BLOCK = 256
"""Boxes compared with the others at once: bounds the memory when there are thousands."""


def suppress(
    boxes: FloatArray,
    scores: FloatArray,
    class_ids: IntArray,
    threshold: float,
    diou_beta: float | None = None,
) -> BoolArray:
    """Tell which boxes stay (do_nms_sort and diounms_sort in box.c of both forks).

    Within a class, from the highest score down, a box that stays removes every later one that
    overlaps it by more than the threshold.

    Args:
        boxes: float32[n, 4], centre x, centre y, width, height, in any one unit.
        scores: float32[n].
        class_ids: int32[n]; boxes of different classes never remove each other.
        threshold: the overlap that is still allowed; 0 turns suppression off.
        diou_beta: None: overlap is intersection over union. A number: from that is taken
            (d / c) ** diou_beta, with d the squared distance of the centres and c the squared
            diagonal of the box around both (https://arxiv.org/abs/1911.08287).

    Returns:
        bool[n]. Of equal scores the first counts as the higher. A box with a NaN stays.
    """
    keep = np.ones(len(scores), np.bool_)
    if threshold > 0 and len(scores) > 1:
        order = np.lexsort((-scores, class_ids))
        with np.errstate(all="ignore"):
            ranked = _Boxes(boxes[order], diou_beta)
            keep[order] = _survivors(ranked, class_ids[order], np.float32(threshold))
    return keep


def _survivors(ranked: _Boxes, classes: IntArray, threshold: np.float32) -> BoolArray:
    """Do the same with boxes that are sorted by class, then by falling score."""
    alive = np.ones(len(classes), np.bool_)
    class_ends = np.searchsorted(classes, classes, side="right")
    for start in range(0, len(classes), _BLOCK):
        stop = min(start + _BLOCK, len(classes))
        rows = start + np.flatnonzero(alive[start:stop])
        others = start + np.flatnonzero(alive[start : class_ends[stop - 1]])
        beats = ranked.overlap(rows, others) > threshold
        beats &= (classes[rows, None] == classes[others]) & (rows[:, None] < others)
        for row in np.flatnonzero(beats.any(axis=1)):
            if alive[rows[row]]:
                alive[others[beats[row]]] = False
    return alive


class _Boxes:
    """Boxes prepared for comparing many with many."""

    def __init__(self, boxes: FloatArray, diou_beta: float | None) -> None:
        self._x, self._y, width, height = boxes.T
        self._left, self._right = self._x - width / 2, self._x + width / 2
        self._top, self._bottom = self._y - height / 2, self._y + height / 2
        self._area = width * height
        self._beta = diou_beta

    def overlap(self, rows: IndexArray, others: IndexArray) -> FloatArray:
        """Return float32[len(rows), len(others)], how much each row overlaps each other box."""
        rows = rows[:, None]
        width = np.minimum(self._right[rows], self._right[others])
        width -= np.maximum(self._left[rows], self._left[others])
        height = np.minimum(self._bottom[rows], self._bottom[others])
        height -= np.maximum(self._top[rows], self._top[others])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        overlap: FloatArray = shared / (self._area[rows] + self._area[others] - shared)
        if self._beta is not None:
            overlap -= self._distance(rows, others) ** np.float32(self._beta)
        return overlap

    def _distance(self, rows: IndexArray, others: IndexArray) -> FloatArray:
        """Squared distance of the centres over the squared diagonal around both boxes."""
        width = np.maximum(self._right[rows], self._right[others])
        width -= np.minimum(self._left[rows], self._left[others])
        height = np.maximum(self._bottom[rows], self._bottom[others])
        height -= np.minimum(self._top[rows], self._top[others])
        dx, dy = self._x[rows] - self._x[others], self._y[rows] - self._y[others]
        diagonal = width * width + height * height
        distance: FloatArray = (dx * dx + dy * dy) / np.where(diagonal == 0, np.inf, diagonal)
        return distance
