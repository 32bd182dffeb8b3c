"""Non-maximum suppression: of overlapping boxes of one class, keep the one with the best score."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from darknet.detections import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]
_Pairs = tuple[IndexArray, IndexArray]

_BLOCK = 64
"""Number of boxes compared with the others at once, which bounds the memory."""


def suppress(
    boxes: FloatArray,
    scores: FloatArray,
    class_ids: IntArray,
    threshold: float,
    diou_beta: float | None = None,
) -> BoolArray:
    """Return which boxes to keep (do_nms_sort and diounms_sort in box.c of both forks).

    Within a class, by falling score, each kept box removes every later box that overlaps it by
    more than the threshold.

    Args:
        boxes: float32[n, 4], centre x, centre y, width, height, in any one unit.
        scores: float32[n].
        class_ids: int32[n]; boxes of different classes never remove each other.
        threshold: largest allowed overlap, 0..1; 0 turns suppression off.
        diou_beta: None: overlap is intersection over union (IoU). A number: overlap is
            IoU - (d / c) ** diou_beta, with d the squared distance of the centres and c the squared
            diagonal of the box around both (https://arxiv.org/abs/1911.08287).

    Returns:
        bool[n]. Among equal scores the first counts as the highest. A box with a NaN is kept.
    """
    keep = np.ones(len(scores), np.bool_)
    if threshold > 0 and len(scores) > 1:
        order = np.lexsort((-scores, class_ids))
        with np.errstate(all="ignore"):
            ranked = _Boxes(boxes[order], diou_beta)
            keep[order] = _survivors(ranked, class_ids[order], np.float32(threshold))
    return keep


def _survivors(ranked: _Boxes, classes: IntArray, threshold: np.float32) -> BoolArray:
    """Return bool[n] for boxes that are sorted by class, then by falling score."""
    alive = np.ones(len(classes), np.bool_)
    few = len(classes) <= _BLOCK
    for start in range(0, len(classes), _BLOCK):
        rows, others = _all_pairs(classes) if few else _near_pairs(ranked, classes, alive, start)
        beats = ranked.overlap(rows, others) > threshold
        _remove_beaten(alive, rows[beats], others[beats])
    return alive


def _all_pairs(classes: IntArray) -> _Pairs:
    """Pair each row with all later rows of its class; the fastest way for few boxes."""
    positions = np.arange(len(classes))
    counts = classes.searchsorted(classes, side="right") - positions - 1
    rows, firsts = positions.repeat(counts), positions + 1 - (counts.cumsum() - counts)
    return rows, firsts.repeat(counts) + np.arange(len(rows))


def _near_pairs(ranked: _Boxes, classes: IntArray, alive: BoolArray, start: int) -> _Pairs:
    """Pair each remaining row of a block with later rows of its class that it may overlap."""
    stop = min(start + _BLOCK, len(classes))
    class_end = classes.searchsorted(classes[stop - 1], side="right")
    others = start + np.flatnonzero(alive[start:class_end])
    rows, others = ranked.neighbours(others[: np.count_nonzero(alive[start:stop])], others)
    same = classes[rows] == classes[others]
    return rows[same], others[same]


def _remove_beaten(alive: BoolArray, winners: IndexArray, losers: IndexArray) -> None:
    """Remove the losers of winners that are not removed themselves; winners ascend."""
    changes = (np.flatnonzero(winners[1:] != winners[:-1]) + 1).tolist()
    for start, stop in itertools.pairwise((0, *changes, len(winners))):
        if start < stop and alive[winners[start]]:
            alive[losers[start:stop]] = False


class _Boxes:
    """Corners, areas and centres of boxes, for the overlap of many pairs."""

    def __init__(self, boxes: FloatArray, diou_beta: float | None) -> None:
        self._x, self._y, width, height = boxes.T
        self._left, self._right = self._x - width / 2, self._x + width / 2
        self._top, self._bottom = self._y - height / 2, self._y + height / 2
        self._area = width * height
        self._beta = diou_beta

    def neighbours(self, rows: IndexArray, others: IndexArray) -> _Pairs:
        """Pair each row with later rows among ``others`` that it may overlap.

        A sweep over left edges: of the boxes sorted by left edge, those that begin before a row
        ends and end after it begins are a contiguous range, usually a short one. So the time for
        boxes spread over an image grows with their number, not with its square.
        """
        by_left = others[self._left[others].argsort()]
        reach = np.maximum.accumulate(self._right[by_left])
        first = reach.searchsorted(self._left[rows], side="right")
        counts = np.maximum(self._left[by_left].searchsorted(self._right[rows]) - first, 0)
        starts = first - (counts.cumsum() - counts)
        rows, offsets = rows.repeat(counts), starts.repeat(counts)
        others = by_left[offsets + np.arange(len(offsets))]
        near = np.minimum(self._bottom[rows], self._bottom[others])
        near = near > np.maximum(self._top[rows], self._top[others])
        near &= rows < others
        return rows[near], others[near]

    def overlap(self, rows: IndexArray, others: IndexArray) -> FloatArray:
        """Return float32[n], the overlap of each pair."""
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
        """Return squared distance of the centres / squared diagonal of the box around both."""
        width = np.maximum(self._right[rows], self._right[others])
        width -= np.minimum(self._left[rows], self._left[others])
        height = np.maximum(self._bottom[rows], self._bottom[others])
        height -= np.minimum(self._top[rows], self._top[others])
        dx, dy = self._x[rows] - self._x[others], self._y[rows] - self._y[others]
        diagonal = width * width + height * height
        distance: FloatArray = (dx * dx + dy * dy) / np.where(diagonal == 0, np.inf, diagonal)
        return distance
