"""The decoding of heads as ONNX operators, for graphs that leave this project.

The engines here decode with NumPy instead (``darknet.decode``), because few cells pass the
threshold; ``tests/darknet/onnx/test_export.py`` holds both to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.geometry import geometry
from darknet.model import Model
from darknet.onnx.graph import Graph
from darknet.onnx.layers import Tensor


@dataclass(frozen=True)
class DecodedHead:
    """Names of a head's tensors in the graph, and their sizes.

    Attributes:
        boxes: float32[N, count, 4], left, top, right, bottom in pixels of the network's input, by
            cell, then anchor.
        scores: float32[N, count, classes], 0..1.
        count: number of boxes.
    """

    boxes: str
    scores: str
    count: int


def emit_decoded(graph: Graph, model: Model, head: L.Head, tensor: Tensor) -> DecodedHead:
    """Add the decoding of a head.

    Args:
        graph: the graph to add to.
        model: the network, and the dialect of region heads.
        head: the head.
        tensor: its input.

    Raises:
        UnsupportedError: the head has a class tree.
    """
    name = f"{head.kind}_{head.index}"
    cells = head.input.height * head.input.width
    values = graph.float32(f"{name}/values", tensor.name)
    split = graph.reshape(f"{name}/anchors", values, len(head.anchors), -1, cells)
    rows = graph.node("Transpose", f"{name}/rows", split, perm=(0, 3, 1, 2))
    parts = centres, sizes, objectness, classes = _channels(graph, head, rows)
    if isinstance(head, L.GaussianYolo):
        centres, sizes, scores = _gaussian(graph, head, parts)
    elif isinstance(head, L.Yolo):
        centres, sizes = _yolo_boxes(graph, head, centres, sizes)
        scores = _yolo_scores(graph, head, objectness, classes)
    else:
        centres = graph.node("Sigmoid", f"{centres}/sigmoid", centres)
        sizes = graph.node("Exp", f"{sizes}/exp", sizes)
        scores = _region_scores(graph, model, head, objectness, classes)
    boxes = _corners(graph, model, head, centres, sizes)
    count = cells * len(head.anchors)
    return DecodedHead(
        graph.reshape(f"{name}/boxes", boxes, count, 4),
        graph.reshape(f"{name}/scores", scores, count, head.classes),
        count,
    )


def _channels(graph: Graph, head: L.Head, rows: str) -> list[str]:
    """Split the channels of an anchor: centre, size, objectness, classes.

    Each number of a Gaussian head is followed by its deviation, so its parts are twice as long.
    """
    pair = head.objectness // 2
    names = [
        f"{head.kind}_{head.index}/{part}" for part in ("centres", "sizes", "objectness", "classes")
    ]
    lengths = graph.integers(f"{head.kind}_{head.index}/parts", (pair, pair, 1, head.classes))
    return graph.split("Split", names, rows, lengths, axis=3)


def _gaussian(graph: Graph, head: L.GaussianYolo, parts: list[str]) -> tuple[str, str, str]:
    """Add a ``[Gaussian_yolo]`` layer: see ``darknet.decode.yolo.GaussianYoloHead``."""
    centres, sizes, objectness, classes = parts
    centre, centre_deviation = _mean_and_deviation(graph, centres)
    size, size_deviation = _mean_and_deviation(graph, sizes)
    centre = graph.node("Sigmoid", f"{centre}/sigmoid", centre)
    size = graph.node("Exp", f"{size}/exp", size)
    both = graph.node("Concat", f"{sizes}/all_deviations", centre_deviation, size_deviation, axis=3)
    deviations = graph.node("Sigmoid", f"{both}/sigmoid", both)
    total = graph.node("ReduceSum", f"{both}/sum", deviations, graph.integers(f"{both}/axis", [3]))
    mean = graph.node("Mul", f"{both}/mean", total, graph.number(f"{both}/quarter", 0.25))
    certainty = graph.node("Sub", f"{both}/certainty", graph.number(f"{both}/one", 1), mean)
    scores = _yolo_scores(graph, head, objectness, classes)
    return centre, size, graph.node("Mul", f"{classes}/certain_scores", scores, certainty)


def _mean_and_deviation(graph: Graph, pairs: str) -> tuple[str, str]:
    """Return the even and the odd of four channels."""
    even, odd = (
        graph.node(
            "Gather", f"{pairs}/{name}", pairs, graph.integers(f"{pairs}/{name}s", index), axis=3
        )
        for name, index in (("mean", (0, 2)), ("deviation", (1, 3)))
    )
    return even, odd


def _yolo_boxes(graph: Graph, head: L.Yolo, centres: str, sizes: str) -> tuple[str, str]:
    if not head.new_coords:
        centres = graph.node("Sigmoid", f"{centres}/sigmoid", centres)
        return centres, graph.node("Exp", f"{sizes}/exp", sizes)
    doubled = graph.node("Add", f"{sizes}/doubled", sizes, sizes)
    return centres, graph.node("Mul", f"{sizes}/squared", doubled, doubled)


def _yolo_scores(graph: Graph, head: L.Yolo, objectness: str, classes: str) -> str:
    if not head.new_coords:
        objectness = graph.node("Sigmoid", f"{objectness}/sigmoid", objectness)
        classes = graph.node("Sigmoid", f"{classes}/sigmoid", classes)
    return graph.node("Mul", f"{classes}/scores", objectness, classes)


def _region_scores(
    graph: Graph, model: Model, head: L.Region, objectness: str, classes: str
) -> str:
    """Add the scores of a ``[region]`` layer; the rules are those of ``darknet.decode.region``."""
    if head.tree is not None:
        raise head.unsupported(
            "has a class tree, whose nodes depend on each other and on a threshold; export its "
            "heads as they are (--raw)"
        )
    pjreddie = model.dialect == "pjreddie"
    if head.background and pjreddie:
        every = graph.node("Concat", f"{classes}/every", objectness, classes, axis=3)
        active = _activate_classes(graph, head, every, logistic=True)
        return graph.slice(
            f"{classes}/scores",
            active,
            (0, 0, 1),
            (head.input.height * head.input.width, len(head.anchors), head.classes + 1),
        )
    active = _activate_classes(graph, head, classes, logistic=pjreddie)
    gate = graph.node("Sigmoid", f"{objectness}/sigmoid", objectness)
    return graph.node("Mul", f"{classes}/scores", gate, active)


def _activate_classes(graph: Graph, head: L.Region, classes: str, *, logistic: bool) -> str:
    if head.softmax:
        return graph.node("Softmax", f"{classes}/softmax", classes, axis=3)
    return graph.node("Sigmoid", f"{classes}/sigmoid", classes) if logistic else classes


def _centre_shift(head: L.Head) -> float:
    """Return by how many sizes of the box its predicted point lies before its centre."""
    if not isinstance(head, L.GaussianYolo):
        return 0.0
    return {"center": 0.0, "left_top": 0.5, "right_bottom": -0.5}[head.yolo_point]


def _corners(graph: Graph, model: Model, head: L.Head, centres: str, sizes: str) -> str:
    """Add the corners of boxes in pixels, float32[N, cells, anchors, 4]."""
    net, (scales, origins) = model.cfg.net.input, geometry(head, model.cfg.net.input)
    pixels = np.array((net.width, net.height))

    def constant(name: str, values: npt.NDArray[np.float64]) -> str:
        return graph.constant(f"{head.kind}_{head.index}/{name}", values.astype(np.float32))

    offsets = graph.node(
        "Mul", f"{centres}/offsets", centres, constant("cell", scales[:, :2] * pixels)
    )
    corner = constant("origins", (origins[:, :2] * pixels)[:, np.newaxis])
    middle = graph.node("Add", f"{centres}/pixels", offsets, corner)
    if shift := _centre_shift(head):
        moved = constant("shift", scales[:, 2:] * pixels * shift)
        middle = graph.node(
            "Add", f"{centres}/shifted", middle, graph.node("Mul", f"{sizes}/shift", sizes, moved)
        )
    half = graph.node(
        "Mul", f"{sizes}/half", sizes, constant("half_anchors", scales[:, 2:] * pixels / 2)
    )
    low = graph.node("Sub", f"{centres}/low", middle, half)
    high = graph.node("Add", f"{centres}/high", middle, half)
    return graph.node("Concat", f"{centres}/corners", low, high, axis=3)
