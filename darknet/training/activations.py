"""Darknet's activation functions on tensors; source: activations.h of both forks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's usual name

Activation = Callable[[Tensor], Tensor]


def _plse(x: Tensor) -> Tensor:
    slope = torch.where(x < 0, x + 4, x - 4) * 0.01
    outside = torch.where(x < 0, slope, slope + 1)
    return torch.where(x.abs() > 4, outside, 0.125 * x + 0.5)


def _stair(x: Tensor) -> Tensor:
    floor = x.floor()
    half = (floor / 2).floor()
    return torch.where(floor % 2 == 0, half, x - floor + half)


def _lhtan(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def _hard_mish(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, torch.zeros_like(x)))


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(0.797885 * x + 0.035677 * x**3))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


ACTIVATIONS: Mapping[str, Activation] = {
    "elu": F.elu,
    "gelu": _gelu,
    "hard_mish": _hard_mish,
    "hardtan": F.hardtanh,
    "leaky": _leaky,
    "lhtan": _lhtan,
    "linear": lambda x: x,
    "loggy": lambda x: 2 * torch.sigmoid(x) - 1,
    "logistic": torch.sigmoid,
    "mish": F.mish,
    "plse": _plse,
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "relie": lambda x: F.leaky_relu(x, 0.01),
    "relu": F.relu,
    "relu6": F.relu6,
    "revleaky": _leaky,
    "selu": lambda x: 1.0507 * torch.where(x >= 0, x, 1.6732 * torch.expm1(x)),
    "stair": _stair,
    "swish": F.silu,
    "tanh": torch.tanh,
}

LEAKY_GAIN = math.sqrt(2 / (1 + 0.1**2))
"""Gain of the random initial weights that keeps the variance through a leaky layer."""
