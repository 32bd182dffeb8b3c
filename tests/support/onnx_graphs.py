"""Small networks in one line, and their graphs run by both runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from darknet.cfg import Cfg, parse_cfg
from darknet.engines.openvino import import_openvino
from darknet.model import Dialect, Model
from darknet.onnx import build_onnx
from darknet.weights import Weights
from tests.support.networks import random_weights

Array = npt.NDArray[np.floating[Any]]

NET = "[net]\nwidth={width}\nheight={height}\nchannels={channels}\n"


def net(width: int, height: int, channels: int, *sections: str) -> Cfg:
    """Parse a network; a section is ``name key=value key=value``."""
    lines = [NET.format(width=width, height=height, channels=channels)]
    for section in sections:
        name, *options = section.split()
        lines += [f"[{name}]", *options]
    return parse_cfg("\n".join(lines))


def model(cfg: Cfg, dialect: Dialect = "pjreddie", weights: Weights | None = None) -> Model:
    return Model(cfg, weights or random_weights(cfg), (), dialect, "stretch")


def random_input(cfg: Cfg, count: int = 1) -> Array:
    random = np.random.default_rng(1)
    return random.normal(size=(count, *cfg.net.input)).astype(np.float32)


def run(subject: Model, images: Array, *, half: bool = False) -> list[Array]:
    """Run a graph with ONNX Runtime; OpenVINO has to give the same."""
    graph = build_onnx(subject, half=half)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, {"images": images})
    if not half:
        for mine, other in zip(outputs, run_openvino(graph, images), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)
    return outputs


def run_openvino(graph: bytes, images: Array) -> list[Array]:
    core = import_openvino().Core()
    compiled = core.compile_model(
        core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return list(compiled([images]).values())


def output(cfg: Cfg, images: Array) -> Array:
    """The one output of a network without heads; its shape has to be the .cfg's."""
    (result,) = run(model(cfg), images)
    assert result.shape == (len(images), *cfg.layers[-1].output)
    return result
