"""Decoding of ``[region]`` layers: YOLOv2 and YOLO9000 with its class tree."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from darknet.cfg.layers import Region
from darknet.cfg.tree import Tree
from darknet.decode.candidates import Candidates, Grid, IndexArray, above, logistic, logit
from darknet.detections import FloatArray
from darknet.model import Model, Thresholds

_Activate = Callable[[FloatArray], FloatArray]
_ScoreRule = Callable[[FloatArray, FloatArray, Thresholds], Candidates]
"""(boxes, float32[n, 5 + classes] of the same cells and anchors, thresholds) -> candidates."""


class RegionHead:
    """Decoder of one ``[region]`` layer.

    Raises:
        UnsupportedError: the layer has both ``background`` and a tree.
    """

    def __init__(self, layer: Region, model: Model) -> None:
        self._grid = Grid(layer, model.cfg.net.input)
        self._score = _score_rule(layer, model)
        bounded = layer.softmax or layer.tree is not None or model.dialect == "pjreddie"
        self._gated = bounded and not _has_background(layer, model)

    def candidates(self, raw: FloatArray, thresholds: Thresholds) -> Candidates:
        """Return the candidates above the threshold; see ``YoloHead``."""
        limit = logit(thresholds.threshold) if self._gated else -math.inf
        cells, anchors, values = self._grid.select(raw, limit)
        centres, sizes = logistic(values[:, :2]), np.exp(values[:, 2:4])
        boxes = self._grid.boxes(cells, anchors, centres, sizes)
        return self._score(boxes, values, thresholds)


def _has_background(layer: Region, model: Model) -> bool:
    """Return whether ``background`` applies; AlexeyAB's fork reads the option without using it."""
    return layer.background and model.dialect == "pjreddie"


def _score_rule(layer: Region, model: Model) -> _ScoreRule:
    pjreddie = model.dialect == "pjreddie"
    if layer.tree is not None:
        if _has_background(layer, model):
            raise layer.unsupported("has both background and a tree, which Darknet decodes wrongly")
        tree = _TreeScores(layer.tree, layer.class_map)
        return tree.mapped if model.use_map else tree.narrowest if pjreddie else tree.last
    activate = _softmax if layer.softmax else logistic if pjreddie else np.asarray
    return partial(_background if _has_background(layer, model) else _flat, activate)


def _flat(
    activate: _Activate, boxes: FloatArray, values: FloatArray, thresholds: Thresholds
) -> Candidates:
    """Score with objectness * class score."""
    scores = logistic(values[:, 4:5]) * activate(values[:, 5:])
    return above(boxes, scores, thresholds.threshold)


def _background(
    activate: _Activate, boxes: FloatArray, values: FloatArray, thresholds: Thresholds
) -> Candidates:
    """Score with the class score; the objectness channel is one more class, the background."""
    return above(boxes, activate(values[:, 4:])[:, 1:], thresholds.threshold)


class _TreeScores:
    """Scores of YOLO9000's class tree.

    Siblings share a softmax; the probability of a node is the product along the path from the root.
    """

    def __init__(self, tree: Tree, class_map: tuple[int, ...]) -> None:
        self._tree = tree
        self._group = np.repeat(np.arange(len(tree.group_size)), tree.group_size)
        self._generations = _generations(tree)
        self._map = np.array(class_map, np.intp)

    def mapped(self, boxes: FloatArray, values: FloatArray, thresholds: Thresholds) -> Candidates:
        """Score the classes of the class map."""
        nodes = self._probabilities(values)[:, self._map]
        return above(boxes, logistic(values[:, 4:5]) * nodes, thresholds.threshold)

    def narrowest(
        self, boxes: FloatArray, values: FloatArray, thresholds: Thresholds
    ) -> Candidates:
        """Score the deepest node above ``hier_threshold`` with the objectness (pjreddie's fork)."""
        objectness = logistic(values[:, 4])
        node = self._descend(self._probabilities(values), thresholds.hier_threshold)
        chosen = np.flatnonzero(objectness > np.float32(thresholds.threshold))
        return Candidates(boxes[chosen], objectness[chosen], node[chosen].astype(np.int32))

    def last(self, boxes: FloatArray, values: FloatArray, thresholds: Thresholds) -> Candidates:
        """Score the last node above 0.5 with its probability (AlexeyAB's fork)."""
        nodes = self._probabilities(values)
        likely = nodes > np.float32(0.5)
        node = likely.shape[1] - 1 - likely[:, ::-1].argmax(axis=1)
        found = likely.any(axis=1) & (logistic(values[:, 4]) > np.float32(thresholds.threshold))
        chosen = np.flatnonzero(found)
        class_ids = node[chosen]
        return Candidates(boxes[chosen], nodes[chosen, class_ids], class_ids.astype(np.int32))

    def _probabilities(self, values: FloatArray) -> FloatArray:
        """Return float32[n, nodes] (softmax_tree and hierarchy_predictions in C)."""
        nodes, starts = values[:, 5:], self._tree.group_offset
        nodes = np.exp(nodes - np.maximum.reduceat(nodes, starts, axis=1)[:, self._group])
        nodes /= np.add.reduceat(nodes, starts, axis=1)[:, self._group]
        for generation in self._generations:
            nodes[:, generation] *= nodes[:, self._tree.parent[generation]]
        return nodes

    def _descend(self, nodes: FloatArray, threshold: float) -> IndexArray:
        """Return the node reached from the best root via best children above the threshold.

        Source: hierarchy_top_prediction.
        """
        best, leader = self._group_maxima(nodes)
        node = leader[:, 0].copy()
        group = np.zeros(len(nodes), np.intp)
        probability = np.ones(len(nodes), np.float32)
        active = np.arange(len(nodes))
        while len(active):
            probability[active] *= best[active, group[active]]
            active = active[probability[active] > np.float32(threshold)]
            node[active] = leader[active, group[active]]
            group[active] = self._tree.child[node[active]]
            active = active[group[active] >= 0]
        return node

    def _group_maxima(self, nodes: FloatArray) -> tuple[FloatArray, IndexArray]:
        """Return the largest probability of each group of siblings and the first node with it."""
        starts, count = self._tree.group_offset, nodes.shape[1]
        best = np.maximum.reduceat(nodes, starts, axis=1)
        index = np.where(nodes == best[:, self._group], np.arange(count), count)
        leader = np.minimum.reduceat(index, starts, axis=1)
        leader[leader == count] = 0
        return best, leader


def _generations(tree: Tree) -> list[IndexArray]:
    """Return the nodes of each depth, children of the roots first."""
    depth = np.zeros(len(tree), np.intp)
    for node, parent in enumerate(tree.parent):
        depth[node] = depth[parent] + 1 if parent >= 0 else 0
    return [np.flatnonzero(depth == level) for level in range(1, depth.max() + 1)]


def _softmax(values: FloatArray) -> FloatArray:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    result: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
