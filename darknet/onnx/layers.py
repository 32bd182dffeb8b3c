"""One function per layer type that adds the layer's ONNX operators to a graph.

Each function takes the names of its input tensors and returns the name of its output tensor;
tensors are [N, channels, height, width]. Formulas: the forward_*_layer functions of both forks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.errors import WeightsError
from darknet.model import BATCH_NORM_EPSILON, Dialect
from darknet.onnx.activations import activate
from darknet.onnx.graph import Graph
from darknet.weights import FloatArray, LayerArrays


class Tensor(NamedTuple):
    """Name of a tensor in the graph, and its shape without the batch."""

    name: str
    shape: L.Shape


@dataclass(frozen=True)
class EmitContext:
    """What the function of a layer type needs besides the layer.

    Attributes:
        graph: the graph to add to.
        name: the layer's name in it, for example ``convolutional_12``.
        inputs: outputs of the previous layer and of ``layer.sources``; of a route's sources only.
        arrays: the layer's weights.
        dialect: the dialect of batch normalisation.
    """

    graph: Graph
    name: str
    inputs: tuple[Tensor, ...]
    arrays: LayerArrays
    dialect: Dialect

    @property
    def input(self) -> str:
        """Name of the first input tensor."""
        return self.inputs[0].name


def _convolutional(at: EmitContext, layer: L.Convolutional) -> str:
    padding = layer.padding * layer.dilation
    convolved = at.graph.node(
        "Conv",
        f"{at.name}/conv",
        at.input,
        *_weights(at, layer, layer.weight_shape),
        strides=(layer.stride_y, layer.stride_x),
        pads=(padding,) * 4,
        dilations=(layer.dilation,) * 2,
        group=layer.groups,
    )
    return activate(at.graph, at.name, convolved, layer.activation)


def _connected(at: EmitContext, layer: L.Connected) -> str:
    """A convolution whose kernel has the size of its input."""
    kernels = _weights(at, layer, (layer.output.size, *layer.input))
    product = at.graph.node("Conv", f"{at.name}/conv", at.input, *kernels)
    return activate(at.graph, at.name, product, layer.activation)


def _weights(
    at: EmitContext, layer: L.Convolutional | L.Connected, shape: tuple[int, ...]
) -> tuple[str, str]:
    """Add kernels and biases that include the batch normalisation."""
    weights, biases = fold_batch_norm(at.arrays, at.dialect)
    if not (at.graph.holds(weights) and at.graph.holds(biases)):
        raise WeightsError(
            f"layer {layer.index} [{layer.kind}] (line {layer.line} of the .cfg): its weights "
            "leave the range of the number type; the training diverged, or precision=fp32 is needed"
        )
    kernels = at.graph.floats(f"{at.name}/weights", weights.reshape(shape))
    return kernels, at.graph.floats(f"{at.name}/biases", biases)


def fold_batch_norm(arrays: LayerArrays, dialect: Dialect) -> tuple[FloatArray, FloatArray]:
    """Return kernels and biases that include the batch normalisation.

    y = scale * (x - mean) / divisor + bias, with the divisor sqrt(variance + a) + b, is linear in
    x, so it is equal to a convolution with other kernels and biases. Computed in float64.

    Args:
        arrays: ``weights`` [n, ...] and ``biases`` [n]; with batch normalisation also ``scales``,
            ``rolling_mean`` and ``rolling_variance`` [n].
        dialect: determines a and b.

    Returns:
        float32 kernels and biases of the same shapes; not finite where the variance is negative.
    """
    weights, biases = arrays["weights"], arrays["biases"]
    if "scales" not in arrays:
        return weights, biases
    a, b = BATCH_NORM_EPSILON[dialect]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        divisor = np.sqrt(arrays["rolling_variance"].astype(np.float64) + a) + b
        factor = arrays["scales"] / divisor
        columns = factor.reshape(-1, *(1,) * (weights.ndim - 1))
        # With ``out`` NumPy converts to float64 in small blocks instead of copying the array.
        folded = np.empty_like(weights)
        np.multiply(weights, columns, out=folded, dtype=np.float64, casting="same_kind")
        shifted = biases - arrays["rolling_mean"] * factor
        return folded, shifted.astype(np.float32)


def _maxpool(at: EmitContext, layer: L.MaxPool) -> str:
    before, after = layer.padding // 2, layer.padding - layer.padding // 2
    return at.graph.node(
        "MaxPool",
        at.name,
        at.input,
        kernel_shape=(layer.size,) * 2,
        strides=(layer.stride_y, layer.stride_x),
        pads=(before, before, after, after),
    )


def _avgpool(at: EmitContext, _layer: L.AvgPool) -> str:
    return at.graph.node("GlobalAveragePool", at.name, at.input)


def _upsample(at: EmitContext, layer: L.Upsample) -> str:
    larger = at.graph.upsample(f"{at.name}/resize", at.input, layer.stride)
    if layer.scale == 1:
        return larger
    return at.graph.node("Mul", at.name, larger, at.graph.scalar(layer.scale))


def _route(at: EmitContext, layer: L.Route) -> str:
    parts = [_group(at, layer, *source) for source in enumerate(at.inputs)]
    return parts[0] if len(parts) == 1 else at.graph.node("Concat", at.name, *parts, axis=1)


def _group(at: EmitContext, layer: L.Route, number: int, source: Tensor) -> str:
    """Select the ``group_id``-th part of a source's channels."""
    tensor, shape = source
    if layer.groups == 1:
        return tensor
    part = shape.channels // layer.groups
    start = part * layer.group_id
    return at.graph.slice(f"{at.name}/part_{number}", tensor, (start,), (start + part,))


def _shortcut(at: EmitContext, layer: L.Shortcut) -> str:
    total = at.input
    for number, (tensor, shape) in enumerate(at.inputs[1:]):
        other = _fitted(at, f"{at.name}/other_{number}", tensor, shape, layer.output)
        total = at.graph.node("Add", f"{at.name}/sum_{number}", total, other)
    return activate(at.graph, at.name, total, layer.activation)


def _weighted_shortcut(at: EmitContext, layer: L.WeightedShortcut) -> str:
    weights = normalized_weights(at.arrays["weights"], layer.weights_normalization)
    total = ""
    for number, (tensor, _) in enumerate(at.inputs):
        name = f"{at.name}/{number}"
        factor = at.graph.floats(f"{name}/weights", weights[number].reshape(1, -1, 1, 1))
        part = at.graph.node("Mul", f"{name}/part", tensor, factor)
        total = at.graph.node("Add", f"{name}/sum", total, part) if total else part
    return activate(at.graph, at.name, total, layer.activation)


def normalized_weights(weights: FloatArray, kind: str) -> FloatArray:
    """Return the factors of a weighted shortcut's inputs (shortcut_multilayer_cpu).

    Args:
        weights: float32[inputs, channels].
        kind: ``relu`` or ``softmax``.
    """
    exact = weights.astype(np.float64)
    positive = np.maximum(exact, 0) if kind == "relu" else np.exp(exact - exact.max(axis=0))
    result: FloatArray = (positive / (positive.sum(axis=0) + 1e-4)).astype(np.float32)
    return result


def _fitted(at: EmitContext, name: str, tensor: str, shape: L.Shape, target: L.Shape) -> str:
    """Select every ``stride``-th pixel and the first channels; pad missing channels with 0.

    Source: shortcut_cpu of pjreddie's fork; AlexeyAB's does not allow larger feature maps here.
    """
    stride, channels = shape.height // target.height, min(shape.channels, target.channels)
    if shape != (channels, target.height, target.width):
        ends, steps = (channels, shape.height, shape.width), (1, stride, stride)
        tensor = at.graph.slice(f"{name}/slice", tensor, (0, 0, 0), ends, steps)
    if channels < target.channels:
        missing = (0,) * 5 + (target.channels - channels, 0, 0)
        pads = at.graph.integers(f"{name}/pads", missing)
        tensor = at.graph.node("Pad", f"{name}/pad", tensor, pads)
    return tensor


def _reorg(at: EmitContext, layer: L.Reorg) -> str:
    """[reorg]: space to depth in the element order of Darknet's first release.

    The input is first reshaped to the shape of the output of a depth to space; the reverse is an
    ordinary depth to space.
    """
    if layer.flatten or layer.extra:
        raise layer.unsupported("has flatten or extra; no engine here runs that")
    if layer.reverse:
        return at.graph.node("DepthToSpace", at.name, at.input, blocksize=layer.stride)
    channels, height, width = layer.input
    spread = (channels // layer.stride**2, height * layer.stride, width * layer.stride)
    wide = at.graph.reshape(f"{at.name}/wide", at.input, *spread)
    deep = at.graph.node("SpaceToDepth", f"{at.name}/deep", wide, blocksize=layer.stride)
    return at.graph.reshape(at.name, deep, *layer.output)


def _reorg3d(at: EmitContext, layer: L.Reorg3d) -> str:
    """[reorg3d]: an ordinary space to depth; the reverse has the element order of ``_reorg``."""
    if not layer.reverse:
        return at.graph.node("SpaceToDepth", at.name, at.input, blocksize=layer.stride)
    if layer.output.channels % layer.stride**2:
        raise layer.unsupported("needs channels that divide by stride^4 to be reversed")
    deep = at.graph.reshape(f"{at.name}/deep", at.input, *layer.output)
    wide = at.graph.node("DepthToSpace", f"{at.name}/wide", deep, blocksize=layer.stride)
    return at.graph.reshape(at.name, wide, *layer.output)


def _identity(at: EmitContext, _layer: L.Dropout | L.Cost) -> str:
    return at.input


def _product(at: EmitContext, layer: L.ScaleChannels | L.Sam) -> str:
    """Multiply element by element, or channel by channel where the input is 1 x 1."""
    product = at.graph.node("Mul", f"{at.name}/product", at.inputs[1].name, at.input)
    return activate(at.graph, at.name, product, layer.activation)


def _softmax(at: EmitContext, layer: L.Softmax) -> str:
    """Softmax over channels, over equal parts of the flattened input, or over a tree's siblings."""
    graph = at.graph
    if layer.spatial and layer.tree is None:
        # Darknet's GPU code, which ignores the temperature here.
        return graph.node("Softmax", at.name, at.input, axis=1)
    cooled = at.input
    if layer.temperature != 1:
        cooled = graph.node("Div", f"{at.name}/cooled", cooled, graph.scalar(layer.temperature))
    if layer.tree is not None:
        flat = graph.reshape(f"{at.name}/flat", cooled, layer.input.size)
        result = _siblings(at, flat, layer.tree.group_size.tolist())
    else:
        flat = graph.reshape(f"{at.name}/flat", cooled, layer.groups, -1)
        result = graph.node("Softmax", f"{at.name}/softmax", flat, axis=-1)
    return graph.reshape(at.name, result, *layer.output)


def _siblings(at: EmitContext, tensor: str, sizes: list[int]) -> str:
    names = [f"{at.name}/group_{number}" for number in range(len(sizes))]
    lengths = at.graph.integers(f"{at.name}/sizes", sizes)
    groups = at.graph.split("Split", names, tensor, lengths, axis=1)
    parts = [at.graph.node("Softmax", f"{group}/softmax", group, axis=1) for group in groups]
    return at.graph.node("Concat", f"{at.name}/groups", *parts, axis=1)


def _crop(at: EmitContext, layer: L.Crop) -> str:
    """Crop the centre; unless ``noadjust``, scale values 0..1 to -1..1."""
    top = (layer.input.height - layer.output.height) // 2
    left = (layer.input.width - layer.output.width) // 2
    ends = (layer.output.channels, top + layer.output.height, left + layer.output.width)
    centre = at.graph.slice(f"{at.name}/centre", at.input, (0, top, left), ends)
    if layer.noadjust:
        return centre
    doubled = at.graph.node("Mul", f"{at.name}/doubled", centre, at.graph.scalar(2))
    return at.graph.node("Sub", at.name, doubled, at.graph.scalar(1))


EMITTERS: Mapping[type[L.Layer], Callable[[EmitContext, Any], str]] = {
    L.Convolutional: _convolutional,
    L.Connected: _connected,
    L.MaxPool: _maxpool,
    L.AvgPool: _avgpool,
    L.Upsample: _upsample,
    L.Route: _route,
    L.Shortcut: _shortcut,
    L.WeightedShortcut: _weighted_shortcut,
    L.Reorg: _reorg,
    L.Reorg3d: _reorg3d,
    L.Dropout: _identity,
    L.Cost: _identity,
    L.ScaleChannels: _product,
    L.Sam: _product,
    L.Softmax: _softmax,
    L.Crop: _crop,
}
"""The function of each layer type; heads are outputs of the graph instead."""
