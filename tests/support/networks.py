"""Small networks and sane random weights, made by code."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from darknet.cfg import Cfg, parse_cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.weights import Header, LayerArrays, Weights, write_weights

TINY = """
[net]
width=64
height=48
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0,1
anchors=8,8, 16,24
classes=2
num=2
"""
"""A detector of two classes for images of 64 x 48, which is not square on purpose."""


def random_weights(
    cfg: Cfg, seed: int = 0, objectness: float = -3.0, head_gain: float = 1.0
) -> Weights:
    """Make values that keep activations near 1, and heads that find a few objects.

    Args:
        cfg: the network.
        seed: of the random numbers.
        objectness: bias of the objectness channels of the convolutions before the heads.
        head_gain: factor on the weights of these convolutions.
    """
    random = np.random.default_rng(seed)
    layers = [_layer(cfg, layer, random) for layer in cfg.layers]
    for head in cfg.heads:
        biases = layers[head.index - 1]["biases"].reshape(len(head.anchors), -1)
        biases[:, head.objectness] = objectness
        layers[head.index - 1]["weights"] *= np.float32(head_gain)
    return Weights(Header(seen=32013312), tuple(layers))


def write_model(folder: Path, text: str = TINY, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Write a model folder: model.cfg, model.weights and model.names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.cfg").write_text(text, encoding="utf-8")
    cfg = parse_cfg(text)
    write_weights(folder / "model.weights", cfg, random_weights(cfg))
    (folder / "model.names").write_text("\n".join(names) + "\n", encoding="utf-8")
    return folder


def write_obicos_model(folder: Path) -> Path:
    """Write a model folder with the names of files that Obico's ml_api has."""
    write_model(folder, names=("failure", "other"))
    (folder / "model.weights").rename(folder / "model-weights-5a6b1be1fa.darknet")
    (folder / "model.names").rename(folder / "names")
    (folder / "model.meta").write_text("classes= 2\nnames = model/names\n")
    (folder / "model-weights.darknet.url").write_text("https://example.org/x\n")
    return folder


def _is_added(cfg: Cfg, layer: L.Layer) -> bool:
    return isinstance(cfg.layers[min(layer.index + 1, len(cfg.layers) - 1)], L.Shortcut)


def _layer(cfg: Cfg, layer: L.Layer, random: np.random.Generator) -> LayerArrays:
    if isinstance(layer, L.Convolutional):
        shape, n = layer.weight_shape, layer.filters
        is_head = any(head.index == layer.index + 1 for head in cfg.heads)
        gain = 1.0 if is_head or layer.activation in ("linear", "logistic") else 2.0
        if _is_added(cfg, layer):
            gain /= 100  # or every residual block would double the variance
        deviation = np.sqrt(gain / np.prod(shape[1:]))
        normalize = layer.batch_normalize
    elif isinstance(layer, L.Connected):
        shape, n = (layer.output.size, layer.input.size), layer.output.size  # type: ignore[assignment]
        deviation, normalize = np.sqrt(2.0 / layer.input.size), layer.batch_normalize
    elif isinstance(layer, L.WeightedShortcut):
        return {"weights": random.uniform(-0.5, 1, layer.arrays["weights"]).astype(np.float32)}
    else:
        return {}
    arrays = {
        "biases": random.normal(0, 0.1, n).astype(np.float32),
        "weights": (random.standard_normal(shape, np.float32) * np.float32(deviation)),
    }
    if normalize:
        arrays["scales"] = random.uniform(0.8, 1.2, n).astype(np.float32)
        arrays["rolling_mean"] = random.normal(0, 0.1, n).astype(np.float32)
        arrays["rolling_variance"] = random.uniform(0.8, 1.2, n).astype(np.float32)
    return arrays
