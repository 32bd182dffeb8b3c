"""Whole graphs: against the C library, for every .cfg of Darknet's, and what is refused."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from darknet.cfg import Cfg, parse_cfg, read_cfg
from darknet.errors import UnsupportedError, WeightsError
from darknet.onnx import build_onnx
from darknet.weights import Header, Weights, expected_bytes, read_weights, write_weights
from tests.support.networks import TINY, random_weights
from tests.support.onnx_graphs import Array, model, net, output, random_input, run
from tests.support.paths import DARKNET

SMALL_NETWORKS = {
    "convolutions": (
        "convolutional filters=8 size=3 stride=2 pad=1 batch_normalize=1 activation=leaky",
        "convolutional filters=8 size=5 padding=1 groups=4 activation=elu",
        "convolutional filters=6 size=1 activation=loggy",
    ),
    "pools": ("maxpool size=2 stride=2", "maxpool size=3 stride=1", "maxpool size=5 stride=3"),
    "odd padding": ("maxpool size=4 stride=2 padding=1", "maxpool size=2 stride=3 padding=2"),
    "reorg": (
        "convolutional filters=8 size=3 pad=1 activation=linear",
        "reorg stride=2",
        "convolutional filters=8 size=1 activation=linear",
        "reorg stride=2 reverse=1",
    ),
    "routes and shortcuts": (
        "convolutional filters=8 size=3 pad=1 activation=ramp",
        "convolutional filters=4 size=3 stride=2 pad=1 activation=relu",
        "shortcut from=0 activation=leaky",
        "convolutional filters=12 size=3 pad=1 activation=tanh",
        "shortcut from=-2 activation=linear",
        "upsample stride=2 scale=0.5",
        "route layers=-1,0",
    ),
    "classifier": (
        "crop crop_width=20 crop_height=16",
        "convolutional filters=4 size=3 pad=1 activation=hardtan",
        "dropout probability=0.5",
        "connected output=12 batch_normalize=1 activation=relie",
        "connected output=8 activation=linear",
        "softmax groups=2 temperature=2",
        "cost",
    ),
    "mean": ("convolutional filters=8 size=3 pad=1 activation=selu", "avgpool"),
}


def c_library(library: Path, folder: Path, cfg: Cfg, image: Array) -> Array:
    """What libdarknet's network_predict answers for one image."""
    (folder / "c.cfg").write_text(cfg.text)
    write_weights(folder / "c.weights", cfg, random_weights(cfg))
    c = ctypes.CDLL(str(library))
    c.load_network.restype = c.network_predict.restype = ctypes.c_void_p
    network = ctypes.c_void_p(
        c.load_network(bytes(folder / "c.cfg"), bytes(folder / "c.weights"), 0)
    )
    image = np.ascontiguousarray(image)
    answer = c.network_predict(network, image.ctypes.data_as(ctypes.c_void_p))
    size = cfg.layers[-1].output.size
    result = np.array(ctypes.cast(answer, ctypes.POINTER(ctypes.c_float))[:size], np.float32)
    c.free_network(network)
    return result.reshape(cfg.layers[-1].output)


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_small_networks_answer_as_the_c_library(
    name: str, libdarknet: Path, tmp_path: Path
) -> None:
    cfg = net(24, 18, 3, *SMALL_NETWORKS[name])
    images = random_input(cfg)
    expected = c_library(libdarknet, tmp_path, cfg, images[0])
    np.testing.assert_allclose(output(cfg, images)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["darknet19", "densenet201", "resnet18", "resnext50"])
def test_classifiers_answer_as_the_c_library(
    name: str, darknet_data: Path, libdarknet: Path, tmp_path: Path
) -> None:
    text = (darknet_data / "cfg" / f"{name}.cfg").read_text()
    cfg = parse_cfg(resized(text, 64), folder=darknet_data / "data")
    images = random_input(cfg)
    expected = c_library(libdarknet, tmp_path, cfg, images[0])
    np.testing.assert_allclose(output(cfg, images)[0], expected, rtol=1e-3, atol=1e-4)


def resized(text: str, size: int) -> str:
    """A .cfg for smaller images; the last of two equal options counts in none of these."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.replace(" ", "").startswith(("width=", "height=")):
            lines[number] = f"{line.split('=')[0]}={size}"
    return "\n".join(lines)


REFUSED = {
    "go": "layer 14 [reorg]",
    "go.test": "layer 14 [reorg]",
    "gru": "layer 0 [recurrent]",
    "rnn": "layer 0 [recurrent]",
    "rnn.train": "layer 0 [recurrent]",
    "t1.test": "layer 15 [detection]",
    "yolov1-tiny": "layer 15 [detection]",
}


def zeros(cfg: Cfg, path: Path) -> Weights:
    header = Header()
    with path.open("wb") as file:
        file.write(header.pack())
        file.truncate(expected_bytes(cfg, header))
    return read_weights(path, cfg)


LARGE = set("alexnet extraction22k resnet152 resnext152-32x4d strided vgg-16 yolov1".split())
"""Hundreds of megabytes without a layer that the others lack; so has the yolov3 family, which
the conformance suite runs."""
CFGS = [
    path
    for path in sorted((DARKNET / "cfg").glob("*.cfg"))
    if path.stem not in LARGE and not re.match("yolov3(?!-tiny)", path.stem)
]


@pytest.mark.parametrize("path", CFGS, ids=lambda path: path.stem)
def test_every_cfg_of_darknet_becomes_a_valid_graph_or_is_refused(
    path: Path, tmp_path: Path
) -> None:
    cfg = read_cfg(path)
    if path.stem in REFUSED:
        with pytest.raises(UnsupportedError, match=re.escape(REFUSED[path.stem])):
            build_onnx(model(cfg, weights=zeros(cfg, tmp_path / "zeros")))
        return
    graph = build_onnx(model(cfg, weights=zeros(cfg, tmp_path / "zeros")))
    onnx.checker.check_model(graph)
    outputs = onnx.load_from_string(graph).graph.output
    found = [tuple(d.dim_value for d in value.type.tensor_type.shape.dim[1:]) for value in outputs]
    assert found == [head.output for head in cfg.heads or cfg.layers[-1:]]


def test_heads_are_the_outputs_with_what_goes_into_them() -> None:
    cfg = parse_cfg(TINY)
    images = random_input(cfg, 3)
    graph = onnx.load_from_string(build_onnx(model(cfg)))
    assert [value.name for value in graph.graph.input] == ["images"]
    assert [value.name for value in graph.graph.output] == ["yolo_3"]
    (head,) = run(model(cfg), images)
    headless = parse_cfg(TINY.partition("[yolo]")[0])
    (raw,) = run(model(headless, weights=random_weights(cfg)), images)
    np.testing.assert_array_equal(head, raw)


def test_nodes_are_named_after_their_layers() -> None:
    cfg = parse_cfg(TINY)
    graph = onnx.load_from_string(build_onnx(model(cfg)))
    names = {f"{layer.kind}_{layer.index}" for layer in cfg.layers}
    assert {node.name.split("/")[0] for node in graph.graph.node} == names


def test_batch_is_open_or_fixed() -> None:
    cfg = parse_cfg(TINY)
    for batch, expected in ((None, "N"), (4, 4)):
        graph = onnx.load_from_string(build_onnx(model(cfg), batch=batch))
        for value in (graph.graph.input[0], graph.graph.output[0]):
            first = value.type.tensor_type.shape.dim[0]
            assert (first.dim_param or first.dim_value) == expected


def test_half_precision_computes_in_float16_and_answers_in_float32() -> None:
    cfg = parse_cfg(TINY)
    images = random_input(cfg)
    (single,) = run(model(cfg), images)
    (half,) = run(model(cfg), images, half=True)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - single).max() < 0.05


EMPTY = Weights(Header(), ({},) * 4)


def test_layer_without_equivalent_names_itself_and_its_line() -> None:
    cfg = net(8, 8, 3, "dropout", "local filters=2 size=3 stride=1 pad=1 activation=linear")
    with pytest.raises(UnsupportedError, match=r"layer 1 \[local\] \(line 7 .*no equivalent"):
        build_onnx(model(cfg))


def test_reading_a_heads_output_is_refused() -> None:
    yolo = "yolo classes=1 num=1 anchors=4,4"
    with pytest.raises(UnsupportedError, match=r"layer 1 \[avgpool\].*reads layer 0"):
        build_onnx(model(net(4, 4, 6, yolo, "avgpool"), weights=EMPTY))
    build_onnx(model(net(4, 4, 6, "dropout", yolo, "route layers=0", yolo), weights=EMPTY))


def test_reversed_reorg3d_of_too_few_channels_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"stride\^4"):
        build_onnx(model(net(3, 2, 8, "reorg3d stride=2 reverse=1")))


@pytest.mark.parametrize(("value", "half"), [(-1.0, False), (1e-20, True)])
def test_weights_that_the_number_type_cannot_hold_are_refused(value: float, half: bool) -> None:
    cfg = parse_cfg(TINY)
    weights = random_weights(cfg)
    weights.layers[0]["rolling_variance"][3] = value
    with pytest.raises(WeightsError, match=r"layer 0 \[convolutional\]"):
        build_onnx(model(cfg, weights=weights), half=half)


def test_weights_beyond_the_format_are_refused_before_they_are_touched() -> None:
    cfg = net(1, 1, 3, "connected output=30000", "connected output=30000")
    with pytest.raises(UnsupportedError, match="bytes of weights"):
        build_onnx(model(cfg, weights=Weights(Header(), ())))
