"""Candidates: what the heads find before non-maximum suppression, and the grid they are on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from darknet.cfg.geometry import geometry
from darknet.cfg.layers import Head, Shape
from darknet.detections import FloatArray, IntArray

IndexArray = npt.NDArray[np.intp]

MAX_CANDIDATES = 10_000
"""Most candidates of a head, those with the highest scores; Darknet has no such limit.

With a threshold of 0 there are millions, whose suppression takes minutes.
"""


class Candidates(NamedTuple):
    """One row per box and class above the threshold, by cell, then anchor, then class.

    Attributes:
        boxes: float32[n, 4], centre x, centre y, width, height relative to the network's input.
        scores: float32[n], objectness * class score, 0..1.
        class_ids: int32[n].
    """

    boxes: FloatArray
    scores: FloatArray
    class_ids: IntArray


NO_CANDIDATES = Candidates(
    np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32)
)


class Grid:
    """Cells and anchors of a head; see ``Geometry``.

    Args:
        layer: the head.
        net: shape of the network's input.
    """

    def __init__(self, layer: Head, net: Shape) -> None:
        self._scales, self._origins = geometry(layer, net)
        self._objectness = layer.objectness

    def select(self, raw: FloatArray, limit: float) -> tuple[IndexArray, IndexArray, FloatArray]:
        """Return the cells, anchors and values with a raw objectness above ``limit``.

        Args:
            raw: float32[anchors * channels, height, width], 5 + classes channels per anchor, 9 +
                classes of ``[Gaussian_yolo]``.
            limit: in the raw values, before the logistic.

        Returns:
            intp[n], intp[n] and float32[n, channels], by cell, then anchor.
        """
        values = raw.reshape(len(self._scales), -1, len(self._origins))
        objectness = values[:, self._objectness].T
        chosen = (objectness > limit).ravel().nonzero()[0]
        cells, anchors = np.divmod(chosen, len(self._scales))
        return cells, anchors, values[anchors, :, cells]

    def boxes(
        self, cells: IndexArray, anchors: IndexArray, centres: FloatArray, sizes: FloatArray
    ) -> FloatArray:
        """Return float32[n, 4], boxes relative to the network's input.

        Args:
            cells: intp[n], index of each box's cell.
            anchors: intp[n], index of each box's anchor.
            centres: float32[n, 2], relative to the cell.
            sizes: float32[n, 2], relative to the anchor.
        """
        boxes = np.concatenate((centres, sizes), axis=1) * self._scales.take(anchors, axis=0)
        boxes += self._origins.take(cells, axis=0)
        result: FloatArray = boxes.astype(np.float32)
        return result


def above(boxes: FloatArray, scores: FloatArray, threshold: float) -> Candidates:
    """Return the candidates with a score above the threshold, at most ``MAX_CANDIDATES``.

    Args:
        boxes: float32[n, 4].
        scores: float32[n, classes].
        threshold: exclusive limit, 0..1.
    """
    positions = (scores > np.float32(threshold)).ravel().nonzero()[0]
    found = scores.take(positions)
    if len(found) > MAX_CANDIDATES:
        best = np.sort(np.argpartition(found, -MAX_CANDIDATES)[-MAX_CANDIDATES:])
        positions, found = positions[best], found[best]
    rows, class_ids = np.divmod(positions, scores.shape[1])
    return Candidates(boxes.take(rows, axis=0), found, class_ids.astype(np.int32))


def logit(threshold: float) -> float:
    """Return the inverse of the logistic minus a margin, so that rounding excludes no candidate."""
    probability = threshold * (1 - 1e-4)
    return math.log(probability / (1 - probability)) if probability > 0 else -math.inf


def logistic(values: FloatArray) -> FloatArray:
    """Return 1 / (1 + e^-x), computed in float64 as the C code does."""
    result: FloatArray = (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)
    return result
