"""A network at another input size than its .cfg says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.net import MAX_INPUT, Net
from darknet.errors import CfgError

InputSize = tuple[int, int]
"""(width, height) of a network's input in pixels."""

BuildLayers = Callable[[Net], tuple[L.Layer, ...]]
_Steps = tuple[Fraction, Fraction]
"""Pixels of the input per cell of a feature map, in x and in y."""


def resized(
    net: Net, layers: tuple[L.Layer, ...], size: InputSize, build: BuildLayers, source: str
) -> tuple[Net, tuple[L.Layer, ...]]:
    """Return a network at another input size; its weights stay the same.

    As after an edit of ``width`` and ``height`` in the .cfg, the anchors of a ``[yolo]`` layer are
    the same number of pixels.

    Args:
        net: the ``[net]`` section.
        layers: the layers at the size of the .cfg.
        size: the new size.
        build: builds the layers for another ``[net]`` section.
        source: name of the .cfg, for messages.

    Raises:
        CfgError: the size is not a multiple of the network's stride, or a layer's weights depend
            on the size.
    """
    _check_size(size, stride(layers), source)
    other = replace(net, input=L.Shape(net.input.channels, size[1], size[0]))
    built = build(other)
    for before, after in zip(layers, built, strict=True):
        if before.parameters != after.parameters:
            raise _error(
                f"layer {after.index} [{after.kind}] has other weights at another size; this "
                f"network can only be computed at {text_of((net.input.width, net.input.height))}",
                source,
            )
    return other, built


def stride(layers: Sequence[L.Layer]) -> InputSize:
    """Return the pixels of the input per cell of the coarsest feature map, in x and in y.

    At sizes that are no multiple of it, feature maps do not fit each other.
    """
    steps: list[_Steps] = []
    for layer in layers:
        steps.append(_steps(layer, steps))
    return tuple(math.ceil(max(step[axis] for step in steps)) for axis in (0, 1))  # type: ignore[return-value]


def nearest_size(size: InputSize, step: InputSize) -> InputSize:
    """Return the nearest size that is a multiple of a stride; of two, the larger."""
    x, y = (
        max(1, (2 * side + each) // (2 * each)) * each
        for side, each in zip(size, step, strict=True)
    )
    return x, y


def smaller_size(size: InputSize, step: InputSize) -> InputSize | None:
    """Return the next smaller multiple of a stride in both directions; None: there is none."""
    x, y = ((side - 1) // each * each for side, each in zip(size, step, strict=True))
    return (x, y) if x > 0 and y > 0 else None


def text_of(size: InputSize) -> str:
    """Return a size as ``640x480``."""
    return "{}x{}".format(*size)


def _check_size(size: InputSize, step: InputSize, source: str) -> None:
    nearest = nearest_size(size, step)
    if min(size) < 1 or size != nearest:
        raise _error(
            f"expected a width that is a multiple of {step[0]} and a height that is one of "
            f"{step[1]}, the stride of this network; found {text_of(size)}, the nearest is "
            f"{text_of(nearest)}",
            source,
        )
    if size[0] * size[1] * 3 > MAX_INPUT:
        raise _error(f"{text_of(size)} has more than {MAX_INPUT // 3} pixels", source)


def _steps(layer: L.Layer, before: Sequence[_Steps]) -> _Steps:
    """Return the steps of a layer's output, given those of all layers before it."""
    x, y = before[-1] if before else (Fraction(1), Fraction(1))
    if isinstance(layer, L.Route | L.ScaleChannels):
        return before[layer.sources[0]]
    factor_x, factor_y = _factors(layer)
    return x * factor_x, y * factor_y


def _factors(layer: Any) -> _Steps:
    if isinstance(layer, L.Convolutional | L.MaxPool):
        return Fraction(layer.stride_x), Fraction(layer.stride_y)
    if isinstance(layer, L.Local | L.Reorg | L.Reorg3d | L.Upsample):
        enlarges = isinstance(layer, L.Upsample) or getattr(layer, "reverse", False)
        factor = Fraction(1, layer.stride) if enlarges else Fraction(layer.stride)
        return factor, factor
    return Fraction(1), Fraction(1)


def _error(message: str, source: str) -> CfgError:
    return CfgError(message, source=source, option="input_size")
