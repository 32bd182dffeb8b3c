"""Non-maximum suppression as ONNX operators."""

from __future__ import annotations

from darknet.model import Thresholds
from darknet.onnx.graph import Graph


def add_suppression(
    graph: Graph, boxes: str, scores: str, count: int, defaults: Thresholds
) -> None:
    """Add the inputs, operators and outputs of a suppression; see ``export_onnx``.

    Args:
        graph: the graph to add to.
        boxes: float32[N, count, 4], corners.
        scores: float32[N, count, classes].
        count: number of boxes of an image.
        defaults: of the inputs ``threshold`` and ``nms``.
    """
    threshold = graph.input_number("threshold", defaults.threshold)
    by_class = graph.node("Transpose", "nms/scores", scores, perm=(0, 2, 1))
    kept = graph.node(
        "NonMaxSuppression",
        "nms/kept",
        boxes,
        by_class,
        graph.integers("nms/most", [count]),
        _largest_overlap(graph, defaults),
        threshold,
    )
    parts = graph.integers("nms/parts", [1, 1, 1])
    names = ["nms/image", "nms/class", "nms/box"]
    image, class_id, box = graph.split("Split", names, kept, parts, axis=1)
    places = graph.node("Concat", "nms/places", image, box, axis=1)
    graph.output_as("boxes", graph.node("GatherND", "nms/boxes", boxes, places), "K", 4)
    graph.output_as("scores", graph.node("GatherND", "nms/kept_scores", by_class, kept), "K")
    last = graph.integers("nms/axis_1", [1])
    class_ids = graph.node("Squeeze", "nms/class_ids", class_id, last)
    graph.output_as("class_ids", class_ids, "K", integer=True)
    graph.output_as("counts", _counts(graph, boxes, image), graph.batch, integer=True)


def _largest_overlap(graph: Graph, defaults: Thresholds) -> str:
    """Return the overlap that ONNX compares with: for Darknet 0 means no suppression, not all."""
    nms = graph.input_number("nms", defaults.nms)
    zero, one = graph.number("nms/zero", 0), graph.number("nms/one", 1)
    is_off = graph.node("Equal", "nms/is_off", nms, zero)
    return graph.node("Where", "nms/overlap", is_off, one, nms)


def _counts(graph: Graph, boxes: str, image: str) -> str:
    """Return int64[N], how often each image occurs in int64[K, 1]."""
    first, zero, one = (
        graph.integers(f"nms/{name}", values)
        for name, values in (("axis_0", [0]), ("start", 0), ("step", 1))
    )
    shape = graph.node("Shape", "nms/shape", boxes)
    batch = graph.node("Gather", "nms/batch", shape, zero)
    images = graph.node("Range", "nms/images", zero, batch, one)
    is_of = graph.node("Equal", "nms/is_of", image, images)
    ones = graph.node("Cast", "nms/ones", is_of, to=graph.INT64)
    return graph.node("ReduceSum", "nms/counts", ones, first, keepdims=0)
