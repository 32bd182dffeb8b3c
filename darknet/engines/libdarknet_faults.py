"""What some builds of libdarknet compute wrongly, found with tiny networks of known output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg import parse_cfg
from darknet.detections import FloatArray
from darknet.model import Model
from darknet.weights import Header, Weights

TOLERANCE: Final = 0.05
"""Above the rounding of fp16, far below any of the faults."""
_NET: Final = "[net]\nwidth=96\nheight=64\nchannels=3\n"
_CONVOLUTION: Final = "[convolutional]\nfilters=6\nsize=1\nactivation={}\n"
_HEAD: Final = "[yolo]\nmask=0\nanchors=8,8\nclasses=1\nnum=1\n"
_RAW: Final = slice(2, 4)
"""Channels of a [yolo] layer's output that it leaves as they are: the sizes of boxes."""


class Fault(NamedTuple):
    """Something that a build may compute wrongly.

    Attributes:
        what: its name.
        concerns: whether a layer is computed with it.
        cfg: the test network, whose only weights are those of one 1 x 1 convolution.
        expected: float32[3, 64, 96], the input, to float32[2, 64, 96], the output's ``_RAW``.
        why: what to say of a layer that it concerns.
    """

    what: str
    concerns: Callable[[Any], bool]
    cfg: str
    expected: Callable[[FloatArray], FloatArray]
    why: str


def example_input() -> FloatArray:
    """Return float32[3, 64, 96], random values of 0..1."""
    return np.random.default_rng(0).random((3, 64, 96), np.float32)


def example_model(fault: Fault) -> Model:
    """Return the test network: its convolution computes ``10 x - 2`` of two channels."""
    cfg = parse_cfg(_NET + fault.cfg + _HEAD, source="<test>")
    arrays = {
        "biases": np.full(6, -2, np.float32),
        "weights": 10 * np.eye(6, 3, -_RAW.start, np.float32).reshape(6, 3, 1, 1),
    }
    layers = [arrays if isinstance(layer, L.Convolutional) else {} for layer in cfg.layers]
    return Model(cfg, Weights(Header(), tuple(layers)), ("a",), "alexeyab", "stretch")


def is_absent(fault: Fault, output: FloatArray) -> bool:
    """Return whether the output of the test network is right.

    Args:
        fault: what is looked for.
        output: float32[6, 64, 96], of ``example_model`` for ``example_input``.
    """
    difference = np.abs(output[_RAW] - fault.expected(example_input()))
    return bool(np.all(difference < TOLERANCE))  # not of NaN


def _convolved(planes: FloatArray) -> FloatArray:
    result: FloatArray = (10 * planes[:2] - 2).astype(np.float32)
    return result


def _pooled(planes: FloatArray) -> FloatArray:
    padded = np.pad(planes, ((0, 0), (2, 2), (2, 2)), constant_values=-np.inf)
    return _convolved(sliding_window_view(padded, (5, 5), (1, 2)).max((3, 4)))


def _relu6(planes: FloatArray) -> FloatArray:
    return np.clip(_convolved(planes), 0, 6)


FAULTS: Final = (
    Fault(
        "max pooling with stride 1",
        lambda layer: isinstance(layer, L.MaxPool) and layer.stride_x == 1 and layer.padding > 1,
        "[maxpool]\nsize=5\nstride=1\n" + _CONVOLUTION.format("linear"),
        _pooled,
        "has stride 1, and this build loses what is left of a window (AlexeyAB's code for AVX); "
        "build it with AVX=0 or by scripts/build-libdarknet",
    ),
    Fault(
        "the activation relu6",
        lambda layer: getattr(layer, "activation", None) == "relu6",
        _CONVOLUTION.format("relu6"),
        _relu6,
        "has the activation relu6, which is always 0 in this build",
    ),
)
