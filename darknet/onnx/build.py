"""Convert a Darknet model to an ONNX graph in memory.

Input: ``images``, float32[N, 3, height, width], RGB, 0..1. Outputs: the input of each ``[yolo]``
and ``[region]`` layer, float32[N, channels, height, width], with the layer's name (``yolo_16``), or
``output``, the last layer's output, of a network without such layers. ``darknet.decode`` decodes
the outputs: activating the few candidates takes less time than activating every cell. Nodes and
tensors have the names of the layers, for viewers such as Netron.
"""

from __future__ import annotations

from collections.abc import Mapping

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.errors import UnsupportedError
from darknet.model import Model
from darknet.onnx.graph import Graph
from darknet.onnx.layers import EMITTERS, EmitContext, Tensor

INPUT = "images"
MAX_WEIGHT_BYTES = 2_000_000_000
"""Largest size of all weights; Protocol Buffers allow 2^31 bytes, which include the names."""


def build_onnx(model: Model, *, batch: int | None = None, half: bool = False) -> bytes:
    """Return the serialized ONNX model of a network.

    Args:
        model: layers, weights and the dialect of batch normalisation.
        batch: fixed batch size N; None: any.
        half: weights and computation in float16; inputs and outputs stay float32.

    Raises:
        UnsupportedError: a layer has no equivalent, or the weights exceed the size limit of ONNX.
        WeightsError: weights exceed the range of float16, or after folding that of float32.
    """
    graph = Graph(batch=batch, half=half)
    outputs = emit_network(graph, model)
    for head, tensor in outputs:
        graph.output(_name(head) if isinstance(head, L.Head) else "output", *tensor)
    return graph.serialize()


def emit_network(graph: Graph, model: Model) -> list[tuple[L.Layer, Tensor]]:
    """Add a network to a graph, and return its outputs in order.

    They are the inputs of its heads; without heads, the output of its last layer.

    Raises:
        UnsupportedError: see ``build_onnx``.
        WeightsError: see ``build_onnx``.
    """
    _check_size(model, graph.bytes_per_weight)
    shape = model.cfg.net.input
    tensors = {-1: Tensor(graph.input(INPUT, shape), shape)}
    heads: list[tuple[L.Layer, Tensor]] = []
    for layer in model.cfg.layers:
        arrays = model.weights.layers[layer.index]
        at = EmitContext(graph, _name(layer), _inputs(layer, tensors), arrays, model.dialect)
        if isinstance(layer, L.Head):
            heads.append((layer, at.inputs[0]))
        else:
            tensors[layer.index] = Tensor(_emit(at, layer), layer.output)
    last = model.cfg.layers[-1]
    return heads or [(last, tensors[last.index])]


def _name(layer: L.Layer) -> str:
    return f"{layer.kind}_{layer.index}"


def _check_size(model: Model, bytes_per_weight: int) -> None:
    size = bytes_per_weight * sum(layer.parameters for layer in model.cfg.layers)
    if size > MAX_WEIGHT_BYTES:
        raise UnsupportedError(
            f"{model.cfg.source}: {size} bytes of weights; an ONNX graph can hold "
            f"{MAX_WEIGHT_BYTES}; use engine libdarknet"
        )


def _inputs(layer: L.Layer, tensors: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
    """Return the inputs of a layer: the previous layer (unless a route) and its sources."""
    previous = () if isinstance(layer, L.Route) else (layer.index - 1,)
    try:
        return tuple(tensors[index] for index in (*previous, *layer.sources))
    except KeyError as error:
        raise layer.unsupported(
            f"reads layer {error}, a detection output; use engine libdarknet"
        ) from None


def _emit(at: EmitContext, layer: L.Layer) -> str:
    emitter = EMITTERS.get(type(layer))
    if emitter is None:
        raise layer.unsupported("has no equivalent in an ONNX graph; no engine here runs it")
    return emitter(at, layer)
