"""A .cfg as a PyTorch module.

The module computes the same as every engine, with the alexeyab dialect's batch normalisation,
sqrt(variance + 1e-5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's usual name

from darknet.cfg import Cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.model import BATCH_NORM_EPSILON
from darknet.training.activations import ACTIVATIONS, LEAKY_GAIN
from darknet.weights import Header, LayerArrays, Weights

BATCH_NORM_MOMENTUM = 0.03
"""Weight of a batch in the running statistics; small, because batches are small."""
_EPSILON = BATCH_NORM_EPSILON["alexeyab"][0]


class Weighted(nn.Module):
    """A convolution or linear layer with its batch normalisation and activation."""

    def __init__(
        self, linear: nn.Conv2d | nn.Linear, norm: nn.Module | None, activation: str
    ) -> None:
        super().__init__()
        self.linear, self.norm = linear, norm
        self.activate = ACTIVATIONS[activation]
        nn.init.normal_(linear.weight, std=LEAKY_GAIN / linear.weight[0].numel() ** 0.5)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``activation(norm(linear(x)))``."""
        x = self.linear(x)
        return self.activate(x if self.norm is None else self.norm(x))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names in the .weights layout."""
        tensors = chain(self.named_parameters(), self.named_buffers())
        return {NAMES[name]: value for name, value in tensors if name in NAMES}


NAMES = {
    "linear.weight": "weights",
    "linear.bias": "biases",
    "norm.bias": "biases",
    "norm.weight": "scales",
    "norm.running_mean": "rolling_mean",
    "norm.running_var": "rolling_variance",
}
"""Darknet's name of each of PyTorch's tensors."""


class DarknetModule(nn.Module):
    """A trainable network.

    Attributes:
        cfg: the layers.
        seen: number of images trained on, as in the .weights header.

    Raises:
        UnsupportedError: a layer cannot be trained here; the message names it.
    """

    def __init__(self, cfg: Cfg) -> None:
        super().__init__()
        self.cfg, self.seen = cfg, 0
        self.weighted = nn.ModuleDict()
        for layer in cfg.layers:
            if type(layer) in WEIGHTED:
                self.weighted[str(layer.index)] = WEIGHTED[type(layer)](layer)
            elif type(layer) not in FUNCTIONS:
                raise layer.unsupported("cannot be trained here")
        self._sources = {number for layer in cfg.layers for number in layer.sources}

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the inputs of the heads.

        Args:
            images: float[n, channels, height, width], RGB, 0..1, at the network's size.

        Returns:
            One float[n, anchors * (5 + classes), rows, columns] per head, or the last layer's
            output if there is no head.
        """
        x, saved, heads = images, dict[int, Tensor](), list[Tensor]()
        for layer in self.cfg.layers:
            if str(layer.index) in self.weighted:
                x = self.weighted[str(layer.index)](x)
            else:
                x = FUNCTIONS[type(layer)](layer, x, [saved[i] for i in layer.sources])
            if isinstance(layer, L.Dropout):
                x = F.dropout(x, layer.probability, self.training)
            if isinstance(layer, L.Head):
                heads.append(x)
            if layer.index in self._sources:
                saved[layer.index] = x
        return heads or [x]

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        """Load the weights of all layers, with ``seen``, or of the first ones, without it."""
        for index, block in self.weighted.items():
            if int(index) < len(weights.layers):
                for name, tensor in block.tensors().items():  # type: ignore[operator] # a Weighted
                    values = torch.from_numpy(weights.layers[int(index)][name])
                    tensor.copy_(values.reshape(tensor.shape))
        if len(weights.layers) == len(self.cfg.layers):
            self.seen = weights.header.seen

    def weights(self) -> Weights:
        """Return the current weights in the layout of a .weights file."""
        layers: list[LayerArrays] = [{} for _ in self.cfg.layers]
        for index, block in self.weighted.items():
            layers[int(index)] = {
                name: tensor.detach().float().cpu().contiguous().numpy().copy()
                for name, tensor in block.tensors().items()  # type: ignore[operator] # a Weighted
            }
        return Weights(Header(0, 2, 5, self.seen), tuple(layers))


def _convolutional(layer: L.Convolutional) -> Weighted:
    conv = nn.Conv2d(
        layer.input.channels,
        layer.filters,
        layer.size,
        (layer.stride_y, layer.stride_x),
        layer.padding * layer.dilation,
        layer.dilation,
        layer.groups,
        bias=not layer.batch_normalize,
    )
    norm = nn.BatchNorm2d(layer.filters, _EPSILON, BATCH_NORM_MOMENTUM)
    return Weighted(conv, norm if layer.batch_normalize else None, layer.activation)


class _Connected(Weighted):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))[:, :, None, None]


def _connected(layer: L.Connected) -> Weighted:
    linear = nn.Linear(layer.input.size, layer.output.size, bias=not layer.batch_normalize)
    norm = nn.BatchNorm1d(layer.output.size, _EPSILON, BATCH_NORM_MOMENTUM)
    return _Connected(linear, norm if layer.batch_normalize else None, layer.activation)


WEIGHTED: Mapping[type[L.Layer], Callable[[Any], Weighted]] = {
    L.Convolutional: _convolutional,
    L.Connected: _connected,
}
"""Layers with weights."""


def _same(_layer: L.Layer, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    return x


def _maxpool(layer: L.MaxPool, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    before = layer.padding // 2
    right, below = (
        (out - 1) * stride + layer.size - length - before
        for out, stride, length in (
            (layer.output.width, layer.stride_x, layer.input.width),
            (layer.output.height, layer.stride_y, layer.input.height),
        )
    )
    # Padding of -inf is never the maximum. A negative pad removes pixels that no window reaches.
    x = F.pad(x, (before, right, before, below), value=-torch.inf)
    return F.max_pool2d(x, layer.size, (layer.stride_y, layer.stride_x))


def _avgpool(_layer: L.AvgPool, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _upsample(layer: L.Upsample, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    return F.interpolate(x, scale_factor=float(layer.stride), mode="nearest") * layer.scale


def _route(layer: L.Route, _x: Tensor, sources: Sequence[Tensor]) -> Tensor:
    return torch.cat([source.chunk(layer.groups, 1)[layer.group_id] for source in sources], 1)


def _shortcut(layer: L.Shortcut, x: Tensor, sources: Sequence[Tensor]) -> Tensor:
    for source in sources:
        step = source.shape[2] // x.shape[2]
        common = min(source.shape[1], x.shape[1])
        other = source[:, :common, ::step, ::step]
        x = x + F.pad(other, (0, 0, 0, 0, 0, x.shape[1] - common))
    return ACTIVATIONS[layer.activation](x)


def _reorg(layer: L.Reorg, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    if layer.flatten or layer.extra:
        raise layer.unsupported("with flatten or extra cannot be trained here")
    n, s = x.shape[0], layer.stride
    c, h, w = layer.input
    if layer.reverse:
        return _depth_to_space(layer, x)
    x = x.reshape(n, c // s**2, h, s, w, s).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, *layer.output)


def _reorg3d(layer: L.Reorg3d, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    n, s = x.shape[0], layer.stride
    c, h, w = layer.input
    if layer.reverse:
        return _depth_to_space(layer, x)
    x = x.reshape(n, c, h // s, s, w // s, s).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, *layer.output)


def _depth_to_space(layer: L.Reorg | L.Reorg3d, x: Tensor) -> Tensor:
    n, s = x.shape[0], layer.stride
    x = x.reshape(n, s, s, -1, *x.shape[2:]).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, *layer.output)


def _scale(layer: L.ScaleChannels | L.Sam, x: Tensor, sources: Sequence[Tensor]) -> Tensor:
    return ACTIVATIONS[layer.activation](sources[0] * x)


def _softmax(layer: L.Softmax, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    if layer.tree is not None:
        raise layer.unsupported("with a tree cannot be trained here")
    if layer.spatial:
        return (x / layer.temperature).softmax(1)
    groups = x.reshape(x.shape[0], layer.groups, -1)
    return (groups / layer.temperature).softmax(2).reshape(x.shape)


def _crop(layer: L.Crop, x: Tensor, _sources: Sequence[Tensor]) -> Tensor:
    top = (layer.input.height - layer.output.height) // 2
    left = (layer.input.width - layer.output.width) // 2
    x = x[:, :, top : top + layer.output.height, left : left + layer.output.width]
    return x if layer.noadjust else x * 2 - 1


FUNCTIONS: Mapping[type[L.Layer], Callable[[Any, Tensor, Sequence[Tensor]], Tensor]] = {
    L.AvgPool: _avgpool,
    L.Cost: _same,
    L.Crop: _crop,
    L.Dropout: _same,
    L.MaxPool: _maxpool,
    L.Region: _same,
    L.Reorg: _reorg,
    L.Reorg3d: _reorg3d,
    L.Route: _route,
    L.Sam: _scale,
    L.ScaleChannels: _scale,
    L.Shortcut: _shortcut,
    L.Softmax: _softmax,
    L.Upsample: _upsample,
    L.Yolo: _same,
}
"""Layers without weights: (layer, input, outputs of ``layer.sources``) -> output."""
