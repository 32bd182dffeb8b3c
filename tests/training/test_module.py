"""The PyTorch module computes what the engines compute, and reads and writes .weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("torch")

import torch

from darknet.cfg import Cfg, parse_cfg
from darknet.errors import UnsupportedError, WeightsError
from darknet.model import Model
from darknet.onnx import build_onnx
from darknet.training.activations import ACTIVATIONS
from darknet.training.module import DarknetModule
from darknet.weights import FloatArray, Weights, read_weights, write_weights
from tests.support.networks import TINY, random_weights

PARTS = """
[net]
width=32
height=64
channels=3
[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=mish
[route]
layers=-1
groups=2
group_id=1
[convolutional]
batch_normalize=1
filters=16
size=3
pad=1
dilation=2
activation=swish
[convolutional]
batch_normalize=1
filters=16
size=3
pad=1
groups=16
activation=relu6
[avgpool]
[convolutional]
filters=16
size=1
activation=logistic
[scale_channels]
from=-3
[convolutional]
filters=16
size=1
activation=logistic
[sam]
from=-2
[shortcut]
from=0,-3
activation=leaky
[maxpool]
size=3
stride=2
[maxpool]
size=2
stride=1
[maxpool]
size=5
stride=1
[reorg3d]
stride=2
[convolutional]
batch_normalize=1
filters=8
size=1
activation=hard_mish
[upsample]
stride=2
scale=0.5
[reorg]
stride=2
[dropout]
probability=0.5
[route]
layers=-1,-4
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=8,8,16,24
classes=2
num=2
scale_x_y=1.1
"""
"""A layer of every kind that published detectors have."""

CONNECTED = """
[net]
width=8
height=6
channels=3
[crop]
crop_width=6
crop_height=4
[connected]
output=12
batch_normalize=1
activation=ramp
[connected]
output=6
activation={activation}
[softmax]
groups=2
temperature=2
"""


def outputs(cfg: Cfg, weights: Weights) -> tuple[list[FloatArray], list[FloatArray]]:
    """What the module and ONNX Runtime, running the engines' graph, say to the same noise."""
    images = np.random.default_rng(1).random((2, *cfg.net.input), np.float32)
    module = DarknetModule(cfg).eval()
    module.load(weights)
    with torch.no_grad():
        ours = [head.numpy() for head in module(torch.from_numpy(images))]
    names = tuple(f"class {number}" for number in range(cfg.classes if cfg.heads else 1))
    graph = build_onnx(Model(cfg, weights, names, "alexeyab", "stretch"))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return ours, session.run(None, {"images": images})


def assert_same(cfg: Cfg, weights: Weights) -> None:
    ours, theirs = outputs(cfg, weights)
    assert len(ours) == len(theirs) == max(1, len(cfg.heads))
    for mine, other in zip(ours, theirs, strict=True):
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(mine.reshape(other.shape) / scale, other / scale, atol=1e-4)


def test_a_network_of_every_kind_of_layer_agrees_with_the_engines() -> None:
    cfg = parse_cfg(PARTS)
    assert_same(cfg, random_weights(cfg))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_agrees_with_the_engines(activation: str) -> None:
    cfg = parse_cfg(CONNECTED.format(activation=activation))
    assert_same(cfg, random_weights(cfg))


DETECTORS = ("yolov2", "yolov2-tiny", "yolov2-voc", "yolov3", "yolov3-spp", "yolov3-tiny")


@pytest.mark.parametrize("name", DETECTORS)
def test_published_detectors_agree_with_the_engines(name: str, darknet_data: Path) -> None:
    text = (darknet_data / "cfg" / f"{name}.cfg").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(width|height) *=.*$", r"\1=64", text)
    cfg = parse_cfg(text)
    assert_same(cfg, random_weights(cfg))


def test_a_trained_network_agrees_with_the_engines(xl: Path) -> None:
    text = (xl / f"{xl.name}.cfg").read_text(encoding="utf-8")
    cfg = parse_cfg(text)
    assert_same(cfg, read_weights(xl / f"{xl.name}.weights", cfg))


def test_values_survive_loading_and_writing_to_the_byte(tmp_path: Path) -> None:
    cfg = parse_cfg(PARTS)
    write_weights(tmp_path / "before.weights", cfg, random_weights(cfg))
    module = DarknetModule(cfg)
    module.load(read_weights(tmp_path / "before.weights", cfg))
    write_weights(tmp_path / "after.weights", cfg, module.weights())
    before, after = ((tmp_path / f"{name}.weights").read_bytes() for name in ("before", "after"))
    assert before[20:] == after[20:]
    assert module.seen == 32013312


def test_a_cut_off_takes_what_two_networks_have_in_common(tmp_path: Path) -> None:
    other = parse_cfg(TINY.replace("filters=14", "filters=16").replace("classes=2", "classes=3"))
    weights, cfg = random_weights(other), parse_cfg(TINY)
    write_weights(tmp_path / "other.weights", other, weights)
    with pytest.raises(WeightsError, match="needs"):
        read_weights(tmp_path / "other.weights", cfg)
    module = DarknetModule(cfg)
    own = module.weights()
    module.load(read_weights(tmp_path / "other.weights", cfg, upto=2))
    np.testing.assert_array_equal(
        module.weights().layers[0]["weights"], weights.layers[0]["weights"]
    )
    np.testing.assert_array_equal(module.weights().layers[2]["weights"], own.layers[2]["weights"])
    assert module.seen == 0


def test_a_layer_that_cannot_be_trained_is_named() -> None:
    text = TINY.replace("[maxpool]", "[local]\nfilters=8\nsize=1\n[maxpool]")
    with pytest.raises(UnsupportedError, match=r"layer 1 \[local\]"):
        DarknetModule(parse_cfg(text))
    weighted = "[shortcut]\nfrom=-1\nweights_type=per_feature\nweights_normalization=relu\n"
    with pytest.raises(UnsupportedError, match=r"layer 1 \[shortcut\] .*cannot be trained here"):
        DarknetModule(parse_cfg(TINY.replace("[maxpool]", weighted + "[maxpool]")))
