"""Models and images for ``benchmarks.scale``, made by code in the size that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from darknet.cfg import Cfg, parse_cfg, read_cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.tree import Tree
from darknet.detections import FloatArray
from darknet.model import RgbImage
from darknet.weights import Header, LayerArrays, Weights, write_weights
from tests.support.smears import render_smear
from yolo_service.models.folder import ModelFiles, ModelOptions

SIDE = 416
"""Width and height of the counting network's input and images in pixels."""

_ANCHORS = (1.0, 1.1, 0.9)
"""In cells. They overlap so much that NMS leaves one of an object's three candidates."""

_COUNTER = """
[net]
width={side}
height={side}
channels=3

[convolutional]
filters=1
size={cell}
stride={cell}
activation=linear

[convolutional]
filters={filters}
size=1
stride=1
activation=linear

{head}
"""


def write_counter(folder: Path, classes: int, cell: int, tree: Path | None = None) -> ModelFiles:
    """Write a model that finds white squares, each as one object of the last class.

    Its first convolution takes the brightness of every cell, its second makes an objectness of
    that, and constants for boxes and classes: answers are known, and a backbone costs next to
    nothing.

    Args:
        folder: made for the model; its name becomes the model's.
        classes: how many the head has.
        cell: side of the squares in pixels; divides ``SIDE``.
        tree: a class tree of so many nodes makes the head YOLO9000's; None: a ``[yolo]`` head.
    """
    filters = len(_ANCHORS) * (5 + classes)
    head = f"{_head(cell, tree)}num={len(_ANCHORS)}\nclasses={classes}"
    text = _COUNTER.format(side=SIDE, cell=cell, filters=filters, head=head)
    options = ModelOptions(dialect="pjreddie" if tree else "alexeyab", resize="stretch")
    cfg = parse_cfg(text)
    return _write(folder, text, cfg, _counting(cfg, cell), options)


def write_random(folder: Path, cfg: Path, options: ModelOptions) -> ModelFiles:
    """Write a model of any published .cfg with random weights, which finds a few objects."""
    layers = read_cfg(cfg)
    random = np.random.default_rng(0)
    arrays = [_random(layer, random) for layer in layers.layers]
    for head in layers.heads:
        arrays[head.index - 1]["biases"].reshape(len(head.anchors), -1)[:, 4] = -3
    return _write(folder, cfg.read_text(), layers, arrays, options)


def spots(count: int, cell: int) -> bytes:
    """Draw white squares on black, spread evenly, as a JPEG of ``SIDE`` x ``SIDE`` pixels."""
    side = SIDE // cell
    cells = np.zeros(side * side, np.uint8)
    cells[np.linspace(0, side * side - 1, count).astype(int)] = 255
    image = np.kron(cells.reshape(side, side), np.ones((cell, cell), np.uint8))
    return jpeg(np.repeat(image[..., None], 3, axis=2))


def smears(width: int, height: int) -> bytes:
    """Lay one drawn blood smear out like tiles, as a JPEG of this size."""
    tile = render_smear(0)[0]
    times = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
    return jpeg(np.tile(tile, times)[:height, :width])


def jpeg(image: RgbImage) -> bytes:
    """Encode an RGB image as cameras do, a little compressed."""
    options = (cv2.IMWRITE_JPEG_QUALITY, 90)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def _write(
    folder: Path, text: str, cfg: Cfg, arrays: Sequence[LayerArrays], options: ModelOptions
) -> ModelFiles:
    folder.mkdir(parents=True)
    name = folder.name
    files = [folder / f"{name}{ending}" for ending in (".cfg", ".weights", ".names")]
    files[0].write_text(text)
    write_weights(files[1], cfg, Weights(Header(), tuple(arrays)))
    files[2].write_text("".join(f"class {number}\n" for number in range(cfg.classes)))
    yaml = options.model_dump_json(exclude_unset=True)  # JSON is YAML
    (folder / "model.yaml").write_text(yaml)
    return ModelFiles(name, files[0], files[1], files[2], options)


def _head(cell: int, tree: Path | None) -> str:
    unit = 1 if tree else cell
    anchors = ",".join(f"{size * unit:g},{size * unit:g}" for size in _ANCHORS)
    kind = f"[region]\nsoftmax=1\ntree={tree}" if tree else "[yolo]\nmask=0,1,2"
    return f"{kind}\nanchors={anchors}\n"


def _counting(cfg: Cfg, cell: int) -> list[LayerArrays]:
    brightness = np.full((1, 3, cell, cell), 1 / (3 * cell * cell), np.float32)
    head = cfg.heads[0]
    weights = np.zeros((len(_ANCHORS), 5 + head.classes), np.float32)
    weights[:, 4] = 20  # objectness: -10 for black, 10 for white
    biases = np.zeros_like(weights)
    biases[:, 4:] = -10
    biases[:, 5:][:, _path(head, head.classes - 1)] = 10
    return [
        {"biases": np.zeros(1, np.float32), "weights": brightness},
        {"biases": biases.ravel(), "weights": weights.reshape(-1, 1, 1, 1)},
        {},
    ]


def _path(head: L.Head, node: int) -> list[int]:
    """Return a class with all its ancestors, of which one has to be sure, too."""
    tree: Tree | None = head.tree if isinstance(head, L.Region) else None
    parent = -1 if tree is None else int(tree.parent[node])
    return [node] if parent < 0 else [node, *_path(head, parent)]


def _random(layer: L.Layer, random: np.random.Generator) -> dict[str, FloatArray]:
    """He's initialisation, which keeps activations near 1 (https://arxiv.org/abs/1502.01852)."""
    if not isinstance(layer, L.Convolutional):
        return {}
    shape, n = layer.weight_shape, layer.filters
    deviation = np.float32(np.sqrt(2 / np.prod(shape[1:])))
    arrays: dict[str, FloatArray] = {
        "biases": np.zeros(n, np.float32),
        "weights": random.standard_normal(shape, np.float32) * deviation,
    }
    if layer.batch_normalize:
        arrays |= {"scales": np.ones(n, np.float32), "rolling_mean": np.zeros(n, np.float32)}
        arrays |= {"rolling_variance": np.ones(n, np.float32)}
    return arrays
