"""Decoding of ``[yolo]`` layers, YOLOv3 and later, and of ``[Gaussian_yolo]``."""

from __future__ import annotations

import numpy as np

from darknet.cfg.layers import GaussianYolo, Shape, Yolo
from darknet.decode.candidates import NO_CANDIDATES, Candidates, Grid, above, logistic, logit
from darknet.detections import FloatArray
from darknet.model import Thresholds


class YoloHead:
    """Decoder of one ``[yolo]`` layer."""

    def __init__(self, layer: Yolo, net: Shape) -> None:
        self._grid = Grid(layer, net)
        self._new_coords = layer.new_coords

    def candidates(self, raw: FloatArray, thresholds: Thresholds) -> Candidates:
        """Return the candidates above the threshold.

        Args:
            raw: float32[anchors * (5 + classes), height, width], the layer's input.
            thresholds: see ``Thresholds``.
        """
        limit = thresholds.threshold if self._new_coords else logit(thresholds.threshold)
        cells, anchors, values = self._grid.select(raw, limit)
        if not len(cells):
            return NO_CANDIDATES
        active = values if self._new_coords else logistic(values)
        sizes = (2 * values[:, 2:4]) ** 2 if self._new_coords else np.exp(values[:, 2:4])
        boxes = self._grid.boxes(cells, anchors, active[:, :2], sizes)
        return above(boxes, active[:, 4:5] * active[:, 5:], thresholds.threshold)


class GaussianYoloHead:
    """Decoder of one ``[Gaussian_yolo]`` layer.

    Channels of an anchor: the mean and the deviation of x, of y, of the width and of the height,
    objectness, classes. The mean deviation lowers the scores.
    """

    def __init__(self, layer: GaussianYolo, net: Shape) -> None:
        self._grid = Grid(layer, net)
        self._shift = {"center": 0.0, "left_top": 0.5, "right_bottom": -0.5}[layer.yolo_point]

    def candidates(self, raw: FloatArray, thresholds: Thresholds) -> Candidates:
        """Return the candidates above the threshold; see ``YoloHead``."""
        cells, anchors, values = self._grid.select(raw, logit(thresholds.threshold))
        active = logistic(values)
        boxes = self._grid.boxes(cells, anchors, active[:, :4:2], np.exp(values[:, 4:8:2]))
        boxes[:, :2] += np.float32(self._shift) * boxes[:, 2:]
        certainty = 1 - active[:, 1:8:2].mean(axis=1, keepdims=True)
        return above(boxes, active[:, 8:9] * active[:, 9:] * certainty, thresholds.threshold)
