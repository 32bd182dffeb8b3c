"""From the raw numbers of a network's heads to ``Detections``.

Sources: yolo_layer.c, region_layer.c and tree.c of both forks, and network.c of AlexeyAB's,
whose region layers follow rules of their own. Only cells whose objectness can pass the threshold
are activated: of YOLO9000's eight million class scores usually some ten thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from darknet.cfg import Cfg
from darknet.cfg.layers import Head, Region, Shape, Yolo
from darknet.cfg.tree import Tree
from darknet.decode.nms import suppress
from darknet.detections import Detections, FloatArray, IntArray
from darknet.model import Model, Thresholds
from darknet.resize import undo_resize

IndexArray = npt.NDArray[np.intp]

MAX_CANDIDATES = 10_000
"""Most pairs of box and class that a head hands on, the best ones; Darknet has no such limit.

A threshold of 0 would make millions, and their suppression would keep a worker busy for minutes.
"""


class Decoder:
    """Turns the raw outputs of one model into detections; threads may share it.

    Raises:
        UnsupportedError: a region layer has both ``background`` and a tree.
    """

    def __init__(self, model: Model) -> None:
        self._network = (model.cfg.net.input.height, model.cfg.net.input.width)
        self._resize = model.resize
        self._names = model.names
        self._heads = [_head(layer, model) for layer in model.cfg.heads]
        self._diou_beta = diou_beta(model.cfg)

    def decode(
        self, heads: Sequence[FloatArray], image_size: tuple[int, int], thresholds: Thresholds
    ) -> Detections:
        """Return what the network found in one image, in Darknet's order.

        Args:
            heads: the input of each ``[yolo]`` or ``[region]`` layer, before that layer's own
                logistic or softmax: float32[channels, height, width], in the order of the .cfg.
            image_size: height and width of the original image in pixels.
            thresholds: see ``Thresholds``.

        Returns:
            Detections after non-maximum suppression, boxes in pixels of the original image.
        """
        # exp() overflows quietly in C too; a diverged network's NaN passes no threshold.
        with np.errstate(over="ignore", invalid="ignore"):
            found = [
                head.candidates(raw, thresholds)
                for head, raw in zip(self._heads, heads, strict=True)
            ]
            parts = np.concatenate([head.boxes for head in found])
            boxes = undo_resize(parts, image_size, self._network, self._resize)
        scores = np.concatenate([head.scores for head in found])
        class_ids = np.concatenate([head.class_ids for head in found])
        keep = suppress(boxes, scores, class_ids, thresholds.nms, self._diou_beta)
        kept = keep.nonzero()[0]
        return Detections(
            boxes.take(kept, axis=0), scores.take(kept), class_ids.take(kept), self._names
        )


def diou_beta(cfg: Cfg) -> float | None:
    """Return the exponent for ``suppress``, or None; heads may disagree, Darknet asks the last."""
    last = cfg.heads[-1]
    return last.beta_nms if isinstance(last, Yolo) and last.nms_kind == "diounms" else None


class _Candidates(NamedTuple):
    """One row per box and class above the threshold, by cell, then anchor, then class."""

    boxes: FloatArray
    """float32[n, 4], centre x, centre y, width, height in parts of the network's input."""
    scores: FloatArray
    class_ids: IntArray


_NOTHING = _Candidates(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))
"""What most heads find in most images."""


class _Head(Protocol):
    def candidates(self, raw: FloatArray, thresholds: Thresholds) -> _Candidates: ...


class _Scored(NamedTuple):
    """Which rows of a head's values are of which class, and how sure."""

    rows: IndexArray
    class_ids: IntArray
    scores: FloatArray


_ScoreRule = Callable[[FloatArray, Thresholds], _Scored]
"""Turns the float32[n, 5 + classes] of a region layer into scores of classes."""


def _head(layer: Head, model: Model) -> _Head:
    if isinstance(layer, Yolo):
        return _YoloHead(layer, model.cfg.net.input)
    return _RegionHead(layer, model)


class _Grid:
    """Cells and anchors of a head; ``unit`` is the size of the input in the anchors' measure.

    A box is what the network says, its centre in the cell and its size in anchors, times four
    numbers of the anchor, plus four of the cell.
    """

    def __init__(self, layer: Head, unit: tuple[int, int], scale_x_y: float = 1.0) -> None:
        _, height, width = layer.input
        x_unit, y_unit = unit
        shift = 0.5 * (scale_x_y - 1)
        self._scales = np.array(
            [
                (scale_x_y / width, scale_x_y / height, w / x_unit, h / y_unit)
                for w, h in layer.anchors
            ]
        )
        self._origins = np.array(
            [
                ((x - shift) / width, (y - shift) / height, 0, 0)
                for y in range(height)
                for x in range(width)
            ]
        )

    def select(self, raw: FloatArray, limit: float) -> tuple[IndexArray, IndexArray, FloatArray]:
        """Return cells, anchors and float32[n, 5 + classes] with objectness above ``limit``."""
        values = raw.reshape(len(self._scales), -1, len(self._origins))
        objectness = values[:, 4].T
        chosen = (objectness > limit).ravel().nonzero()[0]
        cells, anchors = np.divmod(chosen, len(self._scales))
        return cells, anchors, values[anchors, :, cells]

    def boxes(
        self, cells: IndexArray, anchors: IndexArray, centres: FloatArray, sizes: FloatArray
    ) -> FloatArray:
        """Return float32[n, 4] of centres in cells and sizes in anchors, each float32[n, 2]."""
        boxes = np.concatenate((centres, sizes), axis=1) * self._scales.take(anchors, axis=0)
        boxes += self._origins.take(cells, axis=0)
        result: FloatArray = boxes.astype(np.float32)
        return result


class _YoloHead:
    def __init__(self, layer: Yolo, net: Shape) -> None:
        self._grid = _Grid(layer, (net.width, net.height), layer.scale_x_y)
        self._new_coords = layer.new_coords

    def candidates(self, raw: FloatArray, thresholds: Thresholds) -> _Candidates:
        limit = thresholds.threshold if self._new_coords else _logit(thresholds.threshold)
        cells, anchors, values = self._grid.select(raw, limit)
        if not len(cells):
            return _NOTHING
        active = values if self._new_coords else _logistic(values)
        found = _above(active[:, 4:5] * active[:, 5:], thresholds.threshold)
        sizes = (2 * values[:, 2:4]) ** 2 if self._new_coords else np.exp(values[:, 2:4])
        boxes = self._grid.boxes(cells, anchors, active[:, :2], sizes)
        return _Candidates(boxes.take(found.rows, axis=0), found.scores, found.class_ids)


class _RegionHead:
    def __init__(self, layer: Region, model: Model) -> None:
        self._grid = _Grid(layer, (layer.input.width, layer.input.height))
        self._score = _score_rule(layer, model)
        bounded = layer.softmax or layer.tree is not None or model.dialect == "pjreddie"
        self._gated = bounded and not _has_background(layer, model)

    def candidates(self, raw: FloatArray, thresholds: Thresholds) -> _Candidates:
        limit = _logit(thresholds.threshold) if self._gated else -math.inf
        cells, anchors, values = self._grid.select(raw, limit)
        found = self._score(values, thresholds)
        centres, sizes = _logistic(values[:, :2]), np.exp(values[:, 2:4])
        boxes = self._grid.boxes(cells, anchors, centres, sizes)
        return _Candidates(boxes.take(found.rows, axis=0), found.scores, found.class_ids)


def _has_background(layer: Region, model: Model) -> bool:
    """AlexeyAB's fork reads the option and does not use it."""
    return layer.background and model.dialect == "pjreddie"


def _score_rule(layer: Region, model: Model) -> _ScoreRule:
    pjreddie = model.dialect == "pjreddie"
    if layer.tree is not None:
        if _has_background(layer, model):
            raise layer.unsupported("has both background and a tree, which Darknet itself mixes up")
        tree = _TreeScores(layer.tree, layer.class_map)
        return tree.mapped if model.use_map else tree.narrowest if pjreddie else tree.last
    activate = _softmax if layer.softmax else _logistic if pjreddie else np.asarray
    return partial(_background if _has_background(layer, model) else _flat, activate)


def _flat(
    activate: Callable[[FloatArray], FloatArray], values: FloatArray, thresholds: Thresholds
) -> _Scored:
    scores = _logistic(values[:, 4:5]) * activate(values[:, 5:])
    return _above(scores, thresholds.threshold)


def _background(
    activate: Callable[[FloatArray], FloatArray], values: FloatArray, thresholds: Thresholds
) -> _Scored:
    """The channel of the objectness is one class more: nothing."""
    return _above(activate(values[:, 4:])[:, 1:], thresholds.threshold)


class _TreeScores:
    """YOLO9000: a softmax per group of siblings; a node is as probable as the path to it."""

    def __init__(self, tree: Tree, class_map: tuple[int, ...]) -> None:
        self._tree = tree
        self._group = np.repeat(np.arange(len(tree.group_size)), tree.group_size)
        self._generations = _generations(tree)
        self._map = np.array(class_map, np.intp)

    def mapped(self, values: FloatArray, thresholds: Thresholds) -> _Scored:
        """The classes of the map's list."""
        nodes = self._probabilities(values)[:, self._map]
        return _above(_logistic(values[:, 4:5]) * nodes, thresholds.threshold)

    def narrowest(self, values: FloatArray, thresholds: Thresholds) -> _Scored:
        """pjreddie: how far down the tree one can be sure, with the score of the objectness."""
        objectness = _logistic(values[:, 4])
        node = self._descend(self._probabilities(values), thresholds.hier_threshold)
        return _where(objectness > np.float32(thresholds.threshold), node, objectness)

    def last(self, values: FloatArray, thresholds: Thresholds) -> _Scored:
        """AlexeyAB: the last node above one half, with its own probability as the score."""
        nodes = self._probabilities(values)
        sure = nodes > np.float32(0.5)
        node = sure.shape[1] - 1 - sure[:, ::-1].argmax(axis=1)
        chosen = sure.any(axis=1) & (_logistic(values[:, 4]) > np.float32(thresholds.threshold))
        return _where(chosen, node, nodes[np.arange(len(node)), node])

    def _probabilities(self, values: FloatArray) -> FloatArray:
        """softmax_tree, then hierarchy_predictions."""
        nodes, starts = values[:, 5:], self._tree.group_offset
        nodes = np.exp(nodes - np.maximum.reduceat(nodes, starts, axis=1)[:, self._group])
        nodes /= np.add.reduceat(nodes, starts, axis=1)[:, self._group]
        for generation in self._generations:
            nodes[:, generation] *= nodes[:, self._tree.parent[generation]]
        return nodes

    def _descend(self, nodes: FloatArray, threshold: float) -> IndexArray:
        """hierarchy_top_prediction: from the best root down to the best child, while sure."""
        best, leader = self._group_maxima(nodes)
        node = leader[:, 0].copy()
        group = np.zeros(len(nodes), np.intp)
        sureness = np.ones(len(nodes), np.float32)
        active = np.arange(len(nodes))
        while len(active):
            sureness[active] *= best[active, group[active]]
            active = active[sureness[active] > np.float32(threshold)]
            node[active] = leader[active, group[active]]
            group[active] = self._tree.child[node[active]]
            active = active[group[active] >= 0]
        return node

    def _group_maxima(self, nodes: FloatArray) -> tuple[FloatArray, IndexArray]:
        """For each group of siblings, the largest probability and the first node that has it."""
        starts, count = self._tree.group_offset, nodes.shape[1]
        best = np.maximum.reduceat(nodes, starts, axis=1)
        index = np.where(nodes == best[:, self._group], np.arange(count), count)
        leader = np.minimum.reduceat(index, starts, axis=1)
        leader[leader == count] = 0
        return best, leader


def _generations(tree: Tree) -> list[IndexArray]:
    """Nodes by their depth, children of the roots first."""
    depth = np.zeros(len(tree), np.intp)
    for node, parent in enumerate(tree.parent):
        depth[node] = depth[parent] + 1 if parent >= 0 else 0
    return [np.flatnonzero(depth == level) for level in range(1, depth.max() + 1)]


def _above(scores: FloatArray, threshold: float) -> _Scored:
    """Every class of every row above the threshold, but no more than ``MAX_CANDIDATES``."""
    places = (scores > np.float32(threshold)).ravel().nonzero()[0]
    found = scores.take(places)
    if len(found) > MAX_CANDIDATES:
        best = np.sort(np.argpartition(found, -MAX_CANDIDATES)[-MAX_CANDIDATES:])
        places, found = places[best], found[best]
    rows, class_ids = np.divmod(places, scores.shape[1])
    return _Scored(rows, class_ids.astype(np.int32), found)


def _where(chosen: npt.NDArray[np.bool_], class_ids: IndexArray, scores: FloatArray) -> _Scored:
    """One class for each chosen row."""
    rows = np.flatnonzero(chosen)
    return _Scored(rows, class_ids[rows].astype(np.int32), scores[rows])


def _logit(threshold: float) -> float:
    """A number that x exceeds if logistic(x) > threshold; a little low, to be safe."""
    probability = threshold * (1 - 1e-4)
    return math.log(probability / (1 - probability)) if probability > 0 else -math.inf


def _logistic(values: FloatArray) -> FloatArray:
    """In double precision, as in C."""
    result: FloatArray = (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)
    return result


def _softmax(values: FloatArray) -> FloatArray:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    result: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
