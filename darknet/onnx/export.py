"""A network as an ONNX file that needs nothing of this project: boxes and scores as outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.errors import UnsupportedError
from darknet.model import Model, Thresholds
from darknet.onnx.build import emit_network
from darknet.onnx.decoded import emit_decoded
from darknet.onnx.graph import OPSET, OPSETS, Graph
from darknet.onnx.layers import Tensor
from darknet.onnx.suppression import add_suppression


@dataclass(frozen=True)
class ExportOptions:
    """What an exported file contains.

    Attributes:
        nms: whether non-maximum suppression is part of the graph; it is by IoU, because ONNX has no
            other, also where Darknet's is by DIoU.
        raw: outputs are the heads' inputs, as the engines here take them, without decoding.
        half: weights and computation in float16; inputs, outputs and decoding stay float32.
        batch: fixed batch size N; None: any.
        opset: version of the operator set, one of ``OPSETS``.
        thresholds: the defaults of the inputs ``threshold`` and ``nms``.
    """

    nms: bool = False
    raw: bool = False
    half: bool = False
    batch: int | None = None
    opset: int = OPSET
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise UnsupportedError(
                f"opset {self.opset}: expected {OPSETS.start} to {OPSETS.stop - 1}"
            )
        if self.raw and self.nms:
            raise UnsupportedError("raw heads have no boxes for nms; use one of both")


def export_onnx(
    model: Model,
    options: ExportOptions = ExportOptions(),
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the serialized ONNX model of a detector.

    Input: ``images``, float32[N, 3, height, width], red first, 0..1, resized as the model expects.
    Outputs: ``boxes``, float32[N, M, 4], left, top, right, bottom in pixels of the network's input,
    and ``scores``, float32[N, M, classes], 0..1; boxes by head, cell, anchor. With ``nms`` there
    are two more inputs, ``threshold`` and ``nms``, float32[1], that may be left out (a
    threshold of 0.25 keeps scores above 0.25, an ``nms`` of 0 turns suppression off), and the
    outputs are the K boxes that remain, by image, class, falling score: ``boxes``, float32[K, 4],
    ``scores``, float32[K], ``class_ids``, int64[K], and ``counts``, int64[N], the boxes of each
    image.

    Args:
        model: layers, weights and dialect.
        options: see ``ExportOptions``.
        metadata: texts that are written into the file.

    Raises:
        UnsupportedError: a layer has no equivalent, or the heads cannot be decoded in a graph.
        WeightsError: weights exceed the range of the number type.
    """
    graph = Graph(batch=options.batch, half=options.half, opset=options.opset)
    outputs = emit_network(graph, model)
    if options.raw:
        for layer, tensor in outputs:
            graph.output(f"{layer.kind}_{layer.index}", *tensor)
    else:
        _add_detector(graph, model, outputs, options)
    graph.describe(metadata or {})
    return graph.serialize()


def _add_detector(
    graph: Graph, model: Model, outputs: list[tuple[L.Layer, Tensor]], options: ExportOptions
) -> None:
    classes = model.cfg.classes
    heads = [
        emit_decoded(graph, model, layer, tensor)
        for layer, tensor in outputs
        if isinstance(layer, L.Head)
    ]
    count = sum(head.count for head in heads)
    boxes = graph.node("Concat", "all_boxes", *(head.boxes for head in heads), axis=1)
    scores = graph.node("Concat", "all_scores", *(head.scores for head in heads), axis=1)
    if options.nms:
        add_suppression(graph, boxes, scores, count, options.thresholds)
    else:
        graph.output_as("boxes", boxes, graph.batch, count, 4)
        graph.output_as("scores", scores, graph.batch, count, classes)
