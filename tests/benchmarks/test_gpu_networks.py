"""The generated networks are the published ones; what they need follows from their layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.gpu.networks import yolov3_cfg, yolov4_cfg
from benchmarks.gpu.work import layers_of, limit_seconds, totals
from darknet.cfg import Cfg, parse_cfg, read_cfg
from darknet.weights import expected_bytes
from tests.support.networks import TINY
from tests.support.paths import ROOT


@pytest.mark.parametrize(("name", "text"), [("yolov3", yolov3_cfg(608)), ("yolov4", yolov4_cfg())])
def test_the_published_weights_fit_to_the_byte(name: str, text: str) -> None:
    catalog = yaml.safe_load((ROOT / "models" / f"{name}_coco" / "model.yaml").read_text())
    (size,) = (
        source["bytes"] for source in catalog["sources"] if source["file"] == f"{name}.weights"
    )
    assert expected_bytes(parse_cfg(text)) == size


@pytest.mark.parametrize(
    ("text", "gflop"), [(yolov3_cfg(416), 65.86), (yolov3_cfg(608), 140.69), (yolov4_cfg(), 128.46)]
)
def test_operations_are_those_that_darknet_prints(text: str, gflop: float) -> None:
    assert totals(layers_of(parse_cfg(text)))[0] == pytest.approx(gflop, rel=2e-3)


def test_yolov3_has_the_layers_of_the_file_that_debian_ships(darknet_data: Path) -> None:
    published = read_cfg(darknet_data / "cfg" / "yolov3.cfg", input_size=(416, 416))
    assert [*_facts(parse_cfg(yolov3_cfg()))] == [*_facts(published)]


def _facts(cfg: Cfg) -> list[tuple[object, ...]]:
    return [
        (x.kind, x.input, x.output, x.sources, x.arrays, x.flops, getattr(x, "anchors", None))
        for x in cfg.layers
    ]


def test_the_limit_is_the_longer_of_computing_and_moving_layer_by_layer() -> None:
    layers = layers_of(parse_cfg(TINY))
    # 8 filters of 3 x 3 x 3 on 24 x 32 positions; 14 of 1 x 1 x 8 on 12 x 16
    assert layers[0] == (2 * 27 * 8 * 24 * 32, 3 * 48 * 64 + 8 * 24 * 32, 27 * 8 + 4 * 8)
    assert layers[1] == (2 * 8 * 14 * 12 * 16, (8 + 14) * 12 * 16, 8 * 14 + 14)
    slow_memory = {"fp16": 1e12, "fp32": 1e12, "memory": 1e6}
    moved = 10 * (layers[0][1] + layers[1][1]) + layers[0][2] + layers[1][2]
    assert limit_seconds(layers, 10, "fp16", slow_memory) == pytest.approx(2 * moved / 1e6)
    assert limit_seconds(layers, 10, "fp32", slow_memory) == pytest.approx(4 * moved / 1e6)
    slow_sums = {"fp32": 1e6, "memory": 1e12}
    computed = 10 * (layers[0][0] + layers[1][0])
    assert limit_seconds(layers, 10, "fp32", slow_sums) == pytest.approx(computed / 1e6)
    assert limit_seconds(layers, 10, "fp16", slow_sums) is None
