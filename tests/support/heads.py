"""Small detectors of one kind of head, and the parts of Darknet's loops that all heads share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet.cfg import parse_cfg
from darknet.cfg.layers import Region, Yolo
from darknet.decode import Decoder
from darknet.detections import Detections, FloatArray
from darknet.model import Dialect, Model, Resize, Thresholds
from darknet.resize import placement
from tests.support.networks import random_weights

Box = tuple[float, float, float, float]

NET = """
[net]
width=64
height=96
channels=3
"""
YOLO = """
[convolutional]
filters=21
size=1
stride={stride}
activation=linear

[yolo]
mask={mask}
anchors=8,8, 16,24, 30,12, 50,60
classes=2
num=4
{options}
"""
GAUSSIAN = YOLO.replace("[yolo]", "[Gaussian_yolo]").replace("filters=21", "filters=33")
REGION = """
[convolutional]
filters={filters}
size=1
stride=16
activation=linear

[region]
anchors=1.5,2, 3,1
classes={classes}
num=2
{options}
"""
SIZE = (120, 200)
DIALECTS: tuple[Dialect, ...] = ("alexeyab", "pjreddie")
NO_NMS = Thresholds(threshold=0.3, nms=0.0)


class Row(NamedTuple):
    box: Box
    score: float
    class_id: int


def yolo(*options: str, head: str = YOLO) -> str:
    """Heads on grids of 4 x 6 and 2 x 3 cells, the masks in no order."""
    heads = zip((16, 2), ("0,1,2", "3,1,0"), strict=True)
    lines = "\n".join(options)
    return NET + "".join(head.format(stride=s, mask=m, options=lines) for s, m in heads)


def region(*options: str, classes: int = 3) -> str:
    """One head on a grid of 4 x 6 cells."""
    lines = "\n".join(options)
    return NET + REGION.format(filters=2 * (classes + 5), classes=classes, options=lines)


def model_of(
    text: str,
    *,
    dialect: Dialect = "alexeyab",
    resize: Resize = "stretch",
    use_map: bool = False,
    folder: Path | None = None,
) -> Model:
    cfg = parse_cfg(text, folder=folder)
    names = tuple(f"class {i}" for i in range(3 if use_map else cfg.classes))
    return Model(cfg, random_weights(cfg), names, dialect, resize, use_map)


def heads_of(model: Model, seed: int = 0) -> list[FloatArray]:
    random = np.random.default_rng(seed)
    return [random.normal(0, 1.5, head.input).astype(np.float32) for head in model.cfg.heads]


def decode(
    model: Model, heads: Sequence[FloatArray], thresholds: Thresholds = NO_NMS
) -> Detections:
    return Decoder(model).decode(heads, SIZE, thresholds)


def assert_same(found: Detections, expected: Sequence[Row]) -> None:
    assert found.class_ids.tolist() == [row.class_id for row in expected]
    np.testing.assert_allclose(found.scores, [row.score for row in expected], rtol=0, atol=1e-6)
    boxes = np.array([row.box for row in expected]).reshape(-1, 4)
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-5, atol=1e-3)
    dtypes = [array.dtype.name for array in (found.boxes, found.scores, found.class_ids)]
    assert dtypes == ["float32", "float32", "int32"]


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def places(
    layer: Yolo | Region, raw: FloatArray
) -> Iterator[tuple[int, int, tuple[float, float], list[float]]]:
    """Row, column, anchor and channels of every box, by cell, then anchor."""
    values = raw.reshape(len(layer.anchors), -1, *raw.shape[1:])
    for row in range(raw.shape[1]):
        for column in range(raw.shape[2]):
            for number, anchor in enumerate(layer.anchors):
                yield row, column, anchor, values[number, :, row, column].tolist()


def to_pixels(box: Box, model: Model) -> Box:
    """correct_yolo_boxes."""
    x, y, w, h = box
    (height, width), net = SIZE, model.cfg.net.input
    place = placement(SIZE, (net.height, net.width), model.resize)
    x = (x - (net.width - place.width) / 2 / net.width) / (place.width / net.width)
    y = (y - (net.height - place.height) / 2 / net.height) / (place.height / net.height)
    w *= net.width / place.width
    h *= net.height / place.height
    return (x * width, y * height, w * width, h * height)


def every(box: Box, scores: Sequence[float], threshold: float) -> Iterator[Row]:
    for class_id, score in enumerate(scores):
        if score > threshold:
            yield Row(box, score, class_id)
