"""What a network asks of a card, and how fast the card could do that at most.

The limit is that of layers that are computed one after the other. A convolution needs its
multiplications and additions, and has to read its input and weights and to write its output; it
takes at least the longer of both times. Everything else (activations, batch normalisation, routes,
shortcuts, pooling) is taken to cost nothing, as if it were fused with a convolution. A small map
that stays in the card's cache is not read from memory, so small networks can be faster than this.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.gpu.results import Layers
from darknet.cfg import Cfg

VALUE_BYTES = {"fp32": 4, "fp16": 2}


def layers_of(cfg: Cfg) -> Layers:
    """Return (flops, numbers read and written for an image, weights) of each weighted layer."""
    return [
        (layer.flops, layer.input.size + layer.output.size, layer.parameters)
        for layer in cfg.layers
        if layer.flops and layer.parameters
    ]


def totals(layers: Layers) -> tuple[float, float, float]:
    """Return GFLOP for an image, millions of numbers that move for it, millions of weights."""
    flops, values, parameters = (sum(column) for column in zip(*layers, strict=True))
    return flops / 1e9, values / 1e6, parameters / 1e6


def limit_seconds(
    layers: Layers, batch: int, precision: str, card: Mapping[str, float]
) -> float | None:
    """Return the least time for a batch; None: the card's limits were not measured.

    Args:
        layers: see ``layers_of``.
        batch: images.
        precision: a key of ``VALUE_BYTES``.
        card: its limits: FLOP/s by precision, and bytes/s as ``memory``.
    """
    if precision not in card or "memory" not in card:
        return None
    size = VALUE_BYTES[precision]
    return sum(
        max(batch * flops / card[precision], size * (batch * values + weights) / card["memory"])
        for flops, values, weights in layers
    )
