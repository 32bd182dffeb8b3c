"""Build layers: one function per section, from its options and the layers before it.

Defaults and shape rules are Darknet's (parser.c and the make_*_layer functions of both forks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.sections import Section
from darknet.cfg.tree import read_named_tree

ACTIVATIONS = frozenset(
    "elu gelu hard_mish hardtan leaky lhtan linear loggy logistic mish plse ramp relie relu "
    "relu6 revleaky selu stair swish tanh".split()
)
_WEIGHTS_TYPES = frozenset(("none", "per_feature", "per_channel"))
_NORMALIZATIONS = frozenset(("none", "relu", "avg_relu", "softmax"))
COMMON = frozenset(
    "clip dropblock dropblock_size_abs dropblock_size_rel learning_rate onlyforward smooth "
    "stopbackward train_only_bn".split()
)


class Base(TypedDict):
    """Arguments that every layer takes."""

    index: int
    line: int
    input: L.Shape


@dataclass(frozen=True)
class Context:
    """What a builder needs: the section, the layers before it, and the shape of the input."""

    section: Section
    before: tuple[L.Layer, ...]
    input: L.Shape
    folder: Path | None

    @property
    def base(self) -> Base:
        """Arguments that every layer takes."""
        return {"index": len(self.before), "line": self.section.line, "input": self.input}

    def layers(self, option: str) -> list[L.Layer]:
        """Return the earlier layers in an option; negative numbers are relative to this layer."""
        numbers = self.section.integers(option)
        if not numbers:
            raise self.section.error("this section needs numbers of earlier layers", option)
        return [self._layer(option, number) for number in numbers]

    def layer(self, option: str) -> L.Layer:
        """Return the single earlier layer in an option."""
        layer, *more = self.layers(option)
        if more:
            raise self.section.error(f"expected a single layer, found {1 + len(more)}", option)
        return layer

    def _layer(self, option: str, number: int) -> L.Layer:
        index = number + len(self.before) if number < 0 else number
        if not 0 <= index < len(self.before):
            raise self.section.error(
                f"layer {number} does not exist here; this is layer {len(self.before)}", option
            )
        return self.before[index]


def _convolutional(at: Context) -> L.Layer:
    s, shape = at.section, at.input
    s.refuse("binary", "xnor", "bin_output", "flipped", "antialiasing", "share_index", "sway")
    s.refuse("rotate", "stretch", "stretch_sway", "deform", "assisted_excitation", "coordconv")
    s.known(frozenset(("dot", "angle", "grad_centr", "reverse")))
    size = s.integer("size", 1, low=1)
    stride = s.integer("stride", 1, low=1)
    stride_y, stride_x = s.integer("stride_y", stride, low=1), s.integer("stride_x", stride, low=1)
    dilation = s.integer("dilation", 1, low=1) if size > 1 else 1
    # The option is read first so that it is not reported as unknown where pad overrides it.
    padding = s.integer("padding", 0)
    padding = size // 2 if s.flag("pad") else padding
    groups, filters = s.integer("groups", 1, low=1), s.integer("filters", 1, low=1)
    if shape.channels % groups or filters % groups:
        raise s.error(
            f"{groups} groups divide neither {shape.channels} input channels and {filters} filters "
            "evenly",
            "groups",
        )
    reach = dilation * (size - 1) + 1
    height = _conv_size(s, shape.height, reach, padding * dilation, stride_y)
    width = _conv_size(s, shape.width, reach, padding * dilation, stride_x)
    if dilation > 1 and height != _conv_size(s, shape.height, size, padding, stride_y):
        raise s.error("Darknet needs padding of (size - 1) / 2 where dilation is set", "dilation")
    return L.Convolutional(
        **at.base,
        output=L.Shape(filters, height, width),
        filters=filters,
        size=size,
        stride_y=stride_y,
        stride_x=stride_x,
        padding=padding,
        dilation=dilation,
        groups=groups,
        # Normalisation across iterations (cbn) differs in training only.
        batch_normalize=s.flag("batch_normalize") | s.flag("cbn"),
        activation=s.choice("activation", "logistic", ACTIVATIONS),
    )


def _conv_size(section: Section, length: int, size: int, padding: int, stride: int) -> int:
    if length + 2 * padding < size:
        raise section.error(
            f"a kernel that reaches {size} does not fit into {length} + 2 * {padding}", "size"
        )
    return (length + 2 * padding - size) // stride + 1


def _connected(at: Context) -> L.Layer:
    return L.Connected(
        **at.base,
        output=L.Shape(at.section.integer("output", 1, low=1), 1, 1),
        batch_normalize=at.section.flag("batch_normalize"),
        activation=at.section.choice("activation", "logistic", ACTIVATIONS),
    )


def _local(at: Context) -> L.Layer:
    s = at.section
    size, stride = s.integer("size", 1, low=1), s.integer("stride", 1, low=1)
    # Unlike a convolution, this layer has pad, by size / 2, but no padding option.
    padding = size // 2 if s.flag("pad") else 0
    filters = s.integer("filters", 1, low=1)
    return L.Local(
        **at.base,
        output=L.Shape(
            filters,
            _conv_size(s, at.input.height, size, padding, stride),
            _conv_size(s, at.input.width, size, padding, stride),
        ),
        filters=filters,
        size=size,
        stride=stride,
        padding=padding,
        activation=s.choice("activation", "logistic", ACTIVATIONS),
    )


def _batchnorm(at: Context) -> L.Layer:
    raise at.section.error(
        "a separate batch normalisation is stored differently by each fork; merge it into the "
        "convolution before it with batch_normalize=1"
    )


def _maxpool(at: Context) -> L.Layer:
    s = at.section
    s.refuse("maxpool_depth", "antialiasing")
    stride = s.integer("stride", 1, low=1)
    stride_y, stride_x = s.integer("stride_y", stride, low=1), s.integer("stride_x", stride, low=1)
    size = s.integer("size", stride, low=1)
    padding = s.integer("padding", size - 1)
    if padding > 2 * (size - 1):
        raise s.error(
            f"at most {2 * (size - 1)} fits a window of {size}, found {padding}", "padding"
        )
    channels, height, width = at.input
    return L.MaxPool(
        **at.base,
        output=L.Shape(
            channels,
            (height + padding - size) // stride_y + 1,
            (width + padding - size) // stride_x + 1,
        ),
        size=size,
        stride_y=stride_y,
        stride_x=stride_x,
        padding=padding,
    )


def _avgpool(at: Context) -> L.Layer:
    return L.AvgPool(**at.base, output=L.Shape(at.input.channels, 1, 1))


def _upsample(at: Context) -> L.Layer:
    stride = at.section.integer("stride", 2, low=1)
    channels, height, width = at.input
    return L.Upsample(
        **at.base,
        output=L.Shape(channels, height * stride, width * stride),
        stride=stride,
        scale=at.section.number("scale", 1.0),
    )


def _route(at: Context) -> L.Layer:
    s = at.section
    s.refuse("stream")
    chosen = at.layers("layers")
    groups = s.integer("groups", 1, low=1)
    group_id = s.integer("group_id", 0, high=groups - 1)
    for layer in chosen:
        if layer.output[1:] != chosen[0].output[1:]:
            raise s.error(
                f"layers {chosen[0].index} and {layer.index} differ in size: "
                f"{tuple(chosen[0].output)} and {tuple(layer.output)}",
                "layers",
            )
        if layer.output.channels % groups:
            raise s.error(f"does not divide the {layer.output.channels} channels", "groups")
    channels = sum(layer.output.channels for layer in chosen) // groups
    return L.Route(
        **at.base,
        output=L.Shape(channels, *chosen[0].output[1:]),
        sources=tuple(layer.index for layer in chosen),
        groups=groups,
        group_id=group_id,
    )


def _shortcut(at: Context) -> L.Layer:
    s = at.section
    weights_type = s.choice("weights_type", "none", _WEIGHTS_TYPES)
    normalization = s.choice("weights_normalization", "none", _NORMALIZATIONS)
    chosen = at.layers("from")
    for layer in chosen:
        if not _can_add(at.input, layer.output, alone=len(chosen) == 1):
            raise s.error(
                f"layer {layer.index} of shape {tuple(layer.output)} cannot be added to "
                f"{tuple(at.input)}",
                "from",
            )
    sources = tuple(layer.index for layer in chosen)
    activation = s.choice("activation", "linear", ACTIVATIONS)
    if weights_type == "none":
        return L.Shortcut(**at.base, output=at.input, sources=sources, activation=activation)
    if normalization == "none":
        raise s.error("Darknet needs relu or softmax where weights_type is set", "weights_type")
    if any(layer.output != at.input for layer in chosen):
        raise s.error("layers of other shapes cannot be added with weights", "from")
    return L.WeightedShortcut(
        **at.base,
        output=at.input,
        sources=sources,
        activation=activation,
        weights_type=weights_type,
        weights_normalization=normalization.removeprefix("avg_"),
    )


def _can_add(target: L.Shape, other: L.Shape, *, alone: bool) -> bool:
    """Return whether shapes are equal, or a single layer is larger by an integer factor."""
    if other == target:
        return True
    factor = other.height // target.height
    return alone and other[1:] == (factor * target.height, factor * target.width)


def _reorg(at: Context) -> L.Layer:
    s = at.section
    stride, extra = s.integer("stride", 1, low=1), s.integer("extra", 0)
    reverse, flatten = s.flag("reverse"), s.flag("flatten")
    if extra or flatten:
        output = L.Shape(at.input.size + extra, 1, 1)
    else:
        output = _reorg_shape(s, at.input, stride, reverse)
    return L.Reorg(
        **at.base, output=output, stride=stride, reverse=reverse, flatten=flatten, extra=extra
    )


def _reorg3d(at: Context) -> L.Layer:
    stride, reverse = at.section.integer("stride", 1, low=1), at.section.flag("reverse")
    output = _reorg_shape(at.section, at.input, stride, reverse)
    return L.Reorg3d(**at.base, output=output, stride=stride, reverse=reverse)


def _reorg_shape(section: Section, shape: L.Shape, stride: int, reverse: bool) -> L.Shape:
    channels, height, width = shape
    if channels % stride**2 or (not reverse and (height % stride or width % stride)):
        raise section.error(
            f"height and width must divide by it and channels by its square; found {tuple(shape)}",
            "stride",
        )
    if reverse:
        return L.Shape(channels // stride**2, height * stride, width * stride)
    return L.Shape(channels * stride**2, height // stride, width // stride)


def _dropout(at: Context) -> L.Layer:
    return L.Dropout(
        **at.base, output=at.input, probability=at.section.number("probability", 0.5, low=0)
    )


def _scale_channels(at: Context) -> L.Layer:
    s = at.section
    s.refuse("scale_wh")
    other = at.layer("from")
    if at.input != (other.output.channels, 1, 1):
        raise s.error(
            f"expected an input of {other.output.channels} x 1 x 1, found {tuple(at.input)}", "from"
        )
    activation = s.choice("activation", "linear", ACTIVATIONS)
    return L.ScaleChannels(
        **at.base, output=other.output, sources=(other.index,), activation=activation
    )


def _sam(at: Context) -> L.Layer:
    s = at.section
    other = at.layer("from")
    if at.input != other.output:
        raise s.error(
            f"layer {other.index} has shape {tuple(other.output)}, expected {tuple(at.input)}",
            "from",
        )
    activation = s.choice("activation", "linear", ACTIVATIONS)
    return L.Sam(**at.base, output=at.input, sources=(other.index,), activation=activation)


def _softmax(at: Context) -> L.Layer:
    s = at.section
    groups = s.integer("groups", 1, low=1)
    if at.input.size % groups:
        raise s.error(f"does not divide the input's {at.input.size} elements", "groups")
    s.known(frozenset(("noloss",)))
    return L.Softmax(
        **at.base,
        output=at.input,
        groups=groups,
        temperature=s.number("temperature", 1.0),
        spatial=s.flag("spatial"),
        tree=read_named_tree(s, at.folder),
    )


def _cost(at: Context) -> L.Layer:
    at.section.known(frozenset(("ratio", "noobj", "thresh", "type")))
    at.section.check_numbers("scale")
    return L.Cost(**at.base, output=at.input)


def _crop(at: Context) -> L.Layer:
    s = at.section
    s.known(frozenset(("flip", "angle", "saturation", "exposure", "shift")))
    height = s.integer("crop_height", 1, low=1, high=at.input.height)
    width = s.integer("crop_width", 1, low=1, high=at.input.width)
    output = L.Shape(at.input.channels, height, width)
    return L.Crop(**at.base, output=output, noadjust=s.flag("noadjust"))


def _recurrent(at: Context) -> L.Layer:
    s = at.section
    s.known(frozenset(("logistic", "tanh", "shortcut")))
    s.integer("hidden", 1, low=1)
    s.flag("batch_normalize")
    s.choice("activation", "logistic", ACTIVATIONS)
    return L.Recurrent(**at.base, output=L.Shape(s.integer("output", 1, low=1), 1, 1))


LAYERS: Mapping[str, Callable[[Context], L.Layer]] = {
    "convolutional": _convolutional,
    "conv": _convolutional,
    "connected": _connected,
    "conn": _connected,
    "local": _local,
    "batchnorm": _batchnorm,
    "maxpool": _maxpool,
    "max": _maxpool,
    "avgpool": _avgpool,
    "avg": _avgpool,
    "upsample": _upsample,
    "route": _route,
    "shortcut": _shortcut,
    "reorg": _reorg,
    "reorg3d": _reorg3d,
    "dropout": _dropout,
    "scale_channels": _scale_channels,
    "sam": _sam,
    "softmax": _softmax,
    "soft": _softmax,
    "cost": _cost,
    "crop": _crop,
    "rnn": _recurrent,
    "gru": _recurrent,
}
