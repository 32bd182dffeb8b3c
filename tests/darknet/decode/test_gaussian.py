"""``[Gaussian_yolo]`` heads are decoded as AlexeyAB's loops decode them, by every engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from darknet.cfg import read_cfg
from darknet.cfg.layers import GaussianYolo
from darknet.detections import FloatArray
from darknet.engines import onnxruntime, openvino
from darknet.engines.libdarknet_files import Family, check_model, write_files
from darknet.errors import UnsupportedError
from darknet.model import Model, Resize, Thresholds
from tests.support.heads import (
    GAUSSIAN,
    NET,
    Row,
    assert_same,
    decode,
    every,
    heads_of,
    logistic,
    model_of,
    places,
    to_pixels,
    yolo,
)
from tests.support.libdarknet_models import an_image

ONE_HEAD = NET + GAUSSIAN.format(stride=16, mask="0,1,2", options="yolo_point=left_top")


def gaussian_rows(model: Model, heads: Sequence[FloatArray], threshold: float) -> Iterator[Row]:
    """get_gaussian_yolo_detections for all heads."""
    net = model.cfg.net.input
    for layer, raw in zip(model.cfg.heads, heads, strict=True):
        assert isinstance(layer, GaussianYolo)
        _, grid_height, grid_width = raw.shape
        for row, column, anchor, v in places(layer, raw):
            if logistic(v[8]) <= threshold:
                continue
            shift = 0.5 * (layer.scale_x_y - 1)
            x, y = (logistic(value) * layer.scale_x_y - shift for value in (v[0], v[2]))
            x, y = (column + x) / grid_width, (row + y) / grid_height
            w = math.exp(v[4]) * anchor[0] / net.width
            h = math.exp(v[6]) * anchor[1] / net.height
            if layer.yolo_point == "left_top":
                x, y = x + w / 2, y + h / 2
            elif layer.yolo_point == "right_bottom":
                x, y = x - w / 2, y - h / 2
            uncertainty = sum(logistic(v[i]) for i in (1, 3, 5, 7)) / 4
            scores = [logistic(v[8]) * logistic(value) * (1 - uncertainty) for value in v[9:]]
            yield from every(to_pixels((x, y, w, h), model), scores, threshold)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize(
    "options", [(), ("scale_x_y=1.2", "yolo_point=left_top"), ("yolo_point=right_bottom",)]
)
def test_deviations_lower_the_scores(options: tuple[str, ...], resize: Resize) -> None:
    model = model_of(yolo(*options, head=GAUSSIAN), resize=resize)
    heads = heads_of(model)
    expected = list(gaussian_rows(model, heads, 0.1))
    assert len(expected) > 50
    assert_same(decode(model, heads, Thresholds(0.1, 0.0)), expected)


def test_the_graph_engines_agree() -> None:
    model = model_of(ONE_HEAD)
    limits = Thresholds(0.01, 0.3)
    first = openvino.load(model, device=None, precision="fp32", streams=None)
    second = onnxruntime.load(model, device=None, precision="fp32", streams=None)
    (a,), (b,) = (engine.detect([an_image()], limits) for engine in (first, second))
    assert len(a) > 5
    assert a.labels == b.labels
    np.testing.assert_allclose(a.boxes, b.boxes, atol=0.01)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


@pytest.mark.parametrize("family", ["pjreddie", "hank-ai"])
def test_libraries_without_the_head_are_refused(family: Family) -> None:
    text = ONE_HEAD.replace("size=1", "size=3\npad=1")
    with pytest.raises(UnsupportedError, match=r"\[Gaussian_yolo\] .*openvino"):
        check_model(model_of(text), family, decodes=True)


def test_alexeyabs_library_is_given_the_head_by_its_own_name(tmp_path: Path) -> None:
    model = model_of(yolo("scale_x_y=1.1", "yolo_point=left_top", head=GAUSSIAN))
    check_model(model, "alexeyab", decodes=True)
    path, _ = write_files(model, tmp_path, "alexeyab")
    assert path.read_text().count("[Gaussian_yolo]") == 2
    for given, written in zip(model.cfg.heads, read_cfg(path).heads, strict=True):
        assert isinstance(written, GaussianYolo)
        assert isinstance(given, GaussianYolo)
        assert (written.yolo_point, written.scale_x_y) == ("left_top", 1.1)
        assert written.anchors == given.anchors
