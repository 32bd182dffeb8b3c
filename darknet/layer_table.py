"""A network's layers as a table, like the one that Darknet prints at load."""

from __future__ import annotations

from collections.abc import Iterator

from darknet.cfg import Cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.weights import expected_bytes

_HEADER = (
    f"{'layer':>5} {'type':<14} {'filters':>7} {'size/stride':>13} "
    f"{'input':>18}    {'output':>18} {'GFLOP':>8} {'parameters':>11}"
)


def layer_table(cfg: Cfg) -> Iterator[str]:
    """Yield the lines of the table: header, one line per layer, totals."""
    yield _HEADER
    for layer in cfg.layers:
        given = "" if isinstance(layer, L.Route) else _shape(layer.input)
        yield (
            f"{layer.index:5d} {layer.kind:<14} {_filters(layer):>7} {_size(layer):>13} "
            f"{given:>18} -> {_shape(layer.output):>18} "
            f"{_gflop(layer.flops):>8} {layer.parameters or '':>11}"
        )
    gflop = sum(layer.flops for layer in cfg.layers) / 1e9
    parameters = sum(layer.parameters for layer in cfg.layers)
    yield (
        f"total {gflop:.3f} GFLOP, {parameters} parameters; "
        f"a .weights file of {expected_bytes(cfg)} bytes"
    )


def _filters(layer: L.Layer) -> str:
    return str(layer.filters) if isinstance(layer, L.Convolutional | L.Local) else ""


def _size(layer: L.Layer) -> str:
    """Return kernel size and stride, or the indices of the source layers."""
    if isinstance(layer, L.Convolutional | L.MaxPool):
        stride = str(layer.stride_y)
        if layer.stride_x != layer.stride_y:
            stride += f"x{layer.stride_x}"
        return f"{layer.size} x {layer.size} / {stride}"
    if isinstance(layer, L.Local):
        return f"{layer.size} x {layer.size} / {layer.stride}"
    if isinstance(layer, L.Upsample | L.Reorg | L.Reorg3d):
        return f"{layer.stride}x"
    return " ".join(map(str, layer.sources))


def _shape(shape: L.Shape) -> str:
    return f"{shape.width} x {shape.height} x {shape.channels}"


def _gflop(flops: int) -> str:
    return f"{flops / 1e9:.3f}" if flops else ""
