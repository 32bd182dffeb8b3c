"""A Darknet model as an ONNX graph, in memory.

The graph takes ``images``, float32[N, 3, height, width], red first, 0..1, and gives for each
``[yolo]`` and ``[region]`` layer what goes into it, float32[N, channels, height, width], called
after the layer (``yolo_16``). Decoding is left to ``darknet.decode``: a logistic or softmax of
the few candidates costs less than one of every cell. A network without such layers gives its
last layer's output, called ``output``. Nodes and tensors are called after the layers, so that a
viewer such as Netron shows the .cfg.
"""

from __future__ import annotations

from collections.abc import Mapping

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.errors import UnsupportedError
from darknet.model import Model
from darknet.onnx.graph import Graph
from darknet.onnx.layers import EMITTERS, Place, Tensor

INPUT = "images"
MAX_WEIGHT_BYTES = 2_000_000_000
"""Protocol buffers end at 2^31 bytes; the rest is room for names."""


def build_onnx(model: Model, *, batch: int | None = None, half: bool = False) -> bytes:
    """Turn layers and weights into a serialized ONNX model.

    Args:
        model: layers, weights and the dialect of the batch normalisation.
        batch: fix the number of images N; None leaves it open.
        half: weights and arithmetic in float16; inputs and outputs stay float32.

    Raises:
        UnsupportedError: a layer has no equivalent, or the weights exceed what ONNX can hold.
        WeightsError: weights that float16, or after folding float32, cannot hold.
    """
    _check_size(model, bytes_per_weight=2 if half else 4)
    graph = Graph(batch=batch, half=half)
    tensors = {-1: Tensor(graph.input(INPUT, model.cfg.net.input), model.cfg.net.input)}
    for layer in model.cfg.layers:
        arrays = model.weights.layers[layer.index]
        place = Place(graph, _name(layer), _inputs(layer, tensors), arrays, model.dialect)
        if isinstance(layer, L.Yolo | L.Region):
            graph.output(place.name, place.input, layer.output)
        else:
            tensors[layer.index] = Tensor(_emit(place, layer), layer.output)
    if not model.cfg.heads:
        graph.output("output", *tensors[model.cfg.layers[-1].index])
    return graph.serialize()


def _check_size(model: Model, bytes_per_weight: int) -> None:
    size = bytes_per_weight * sum(layer.parameters for layer in model.cfg.layers)
    if size > MAX_WEIGHT_BYTES:
        raise UnsupportedError(
            f"{model.cfg.source}: {size} bytes of weights; an ONNX graph can hold "
            f"{MAX_WEIGHT_BYTES}; use engine libdarknet"
        )


def _inputs(layer: L.Layer, tensors: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
    """What a layer reads: the previous layer, unless it is a route, then its sources."""
    previous = () if isinstance(layer, L.Route) else (layer.index - 1,)
    try:
        return tuple(tensors[index] for index in (*previous, *layer.sources))
    except KeyError as error:
        raise layer.unsupported(
            f"reads layer {error}, a detection output; use engine libdarknet"
        ) from None


def _emit(place: Place, layer: L.Layer) -> str:
    emitter = EMITTERS.get(type(layer))
    if emitter is None:
        raise layer.unsupported("has no equivalent in an ONNX graph; no engine here runs it")
    return emitter(place, layer)


def _name(layer: L.Layer) -> str:
    return f"{layer.kind}_{layer.index}"
