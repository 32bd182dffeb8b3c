"""Darknet's activation functions as ONNX operators.

Formulas and constants: src/activations.h and src/activations.c of both forks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from darknet.onnx.graph import Graph

Activation = Callable[[Graph, str, str], str]
"""(graph, name of the result, tensor) -> tensor."""


def activate(graph: Graph, name: str, tensor: str, activation: str) -> str:
    """Apply an activation; return ``<name>/<activation>``, or ``tensor`` itself if it is linear."""
    if activation == "linear":
        return tensor
    return ACTIVATIONS[activation](graph, f"{name}/{activation}", tensor)


def _operator(kind: str, **attributes: float) -> Activation:
    return lambda graph, name, x: graph.node(kind, name, x, **attributes)


def _clip(low: float, high: float) -> Activation:
    return lambda g, name, x: g.node("Clip", name, x, g.scalar(low), g.scalar(high))


def _mul(g: Graph, name: str, x: str, factor: float) -> str:
    return g.node("Mul", name, x, g.scalar(factor))


def _beyond(g: Graph, name: str, x: str, inner: str, slope: float) -> str:
    """What clipping x to ``inner`` cut off, with a gentle slope."""
    return _mul(g, f"{name}/beyond", g.node("Sub", f"{name}/cut", x, inner), slope)


def _loggy(g: Graph, name: str, x: str) -> str:
    """``2 / (1 + e^-x) - 1``, which is ``tanh(x / 2)``."""
    return g.node("Tanh", name, _mul(g, f"{name}/half", x, 0.5))


def _ramp(g: Graph, name: str, x: str) -> str:
    """``max(x, 0) + 0.1 x``."""
    return g.node("Add", name, g.node("Relu", f"{name}/relu", x), _mul(g, f"{name}/slope", x, 0.1))


def _plse(g: Graph, name: str, x: str) -> str:
    """``x / 8 + 1/2`` within -4..4, and a slope of 0.01 beyond."""
    inner = _clip(-4, 4)(g, f"{name}/inner", x)
    line = g.node("Add", f"{name}/line", _mul(g, f"{name}/eighth", inner, 0.125), g.scalar(0.5))
    return g.node("Add", name, line, _beyond(g, name, x, inner, 0.01))


def _lhtan(g: Graph, name: str, x: str) -> str:
    """``x`` within 0..1, and a slope of 0.001 beyond."""
    inner = _clip(0, 1)(g, f"{name}/inner", x)
    return g.node("Add", name, inner, _beyond(g, name, x, inner, 0.001))


def _stair(g: Graph, name: str, x: str) -> str:
    """``floor(x / 2)``, plus the fraction of x where ``floor(x)`` is odd."""
    half = g.node("Floor", f"{name}/half", _mul(g, f"{name}/x_2", x, 0.5))
    whole = g.node("Floor", f"{name}/whole", x)
    odd = g.node("Sub", f"{name}/odd", whole, _mul(g, f"{name}/even", half, 2))
    fraction = g.node("Mul", f"{name}/part", odd, g.node("Sub", f"{name}/fraction", x, whole))
    return g.node("Add", name, half, fraction)


def _mish(g: Graph, name: str, x: str) -> str:
    """``x tanh(ln(1 + e^x))``; OpenVINO fuses these three into one."""
    softplus = g.node("Softplus", f"{name}/softplus", x)
    return g.node("Mul", name, x, g.node("Tanh", f"{name}/tanh", softplus))


def _hard_mish(g: Graph, name: str, x: str) -> str:
    """``x`` above 0, ``x^2 / 2 + x`` within -2..0, 0 below."""
    low = _clip(-2, 0)(g, f"{name}/low", x)
    square = _mul(g, f"{name}/half", g.node("Mul", f"{name}/square", low, low), 0.5)
    curve = g.node("Add", f"{name}/curve", square, low)
    return g.node("Add", name, curve, g.node("Relu", f"{name}/relu", x))


def _swish(g: Graph, name: str, x: str) -> str:
    """``x / (1 + e^-x)``."""
    return g.node("Mul", name, x, g.node("Sigmoid", f"{name}/sigmoid", x))


def _gelu(g: Graph, name: str, x: str) -> str:
    """``0.5 x (1 + tanh(0.797885 x + 0.035677 x^3))``."""
    square = g.node("Mul", f"{name}/square", x, x)
    cubic = _mul(g, f"{name}/cubic", square, 0.035677)
    slope = g.node("Add", f"{name}/slope", cubic, g.scalar(0.797885))
    tanh = g.node("Tanh", f"{name}/tanh", g.node("Mul", f"{name}/inner", x, slope))
    gate = g.node("Add", f"{name}/gate", tanh, g.scalar(1))
    return g.node("Mul", name, _mul(g, f"{name}/half", x, 0.5), gate)


_LEAKY = _operator("LeakyRelu", alpha=0.1)

ACTIVATIONS: Mapping[str, Activation] = {
    "elu": _operator("Elu", alpha=1.0),
    "gelu": _gelu,
    "hard_mish": _hard_mish,
    "hardtan": _clip(-1, 1),
    "leaky": _LEAKY,
    "lhtan": _lhtan,
    "loggy": _loggy,
    "logistic": _operator("Sigmoid"),
    "mish": _mish,
    "plse": _plse,
    "ramp": _ramp,
    "relie": _operator("LeakyRelu", alpha=0.01),
    "relu": _operator("Relu"),
    "relu6": _clip(0, 6),
    "revleaky": _LEAKY,
    "selu": _operator("Selu", alpha=1.6732, gamma=1.0507),
    "stair": _stair,
    "swish": _swish,
    "tanh": _operator("Tanh"),
}
"""Every activation but linear, by its name in a .cfg."""
