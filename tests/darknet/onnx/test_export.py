"""Exported graphs have Darknet's boxes, in runtimes that know nothing of this project."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from darknet.decode import Decoder
from darknet.decode.candidates import logistic
from darknet.decode.nms import suppress
from darknet.detections import FloatArray
from darknet.errors import UnsupportedError
from darknet.model import Dialect, Model, Thresholds
from darknet.onnx import ExportOptions, export_onnx
from darknet.onnx.decoded import emit_decoded
from darknet.onnx.graph import OPSETS, Graph
from darknet.onnx.layers import Tensor
from tests.support.heads import GAUSSIAN, heads_of, model_of, region, yolo
from tests.support.networks import TINY
from tests.support.onnx_graphs import Array, run_openvino

YOLO = [(), ("scale_x_y=1.2",), ("new_coords=1", "scale_x_y=2")]
REGION = [(), ("softmax=1",), ("background=1",), ("background=1", "softmax=1")]
HEADS = [
    *(pytest.param(yolo(*options), "alexeyab", id=f"yolo {options}") for options in YOLO),
    *(
        pytest.param(yolo(*options, head=GAUSSIAN), "alexeyab", id=f"Gaussian {options}")
        for options in [(), ("scale_x_y=1.1", "yolo_point=left_top"), ("yolo_point=right_bottom",)]
    ),
    *(
        pytest.param(region(*options), dialect, id=f"region {options} {dialect}")
        for options in REGION
        for dialect in ("alexeyab", "pjreddie")
    ),
]


def decoded_by_a_graph(model: Model, heads: list[FloatArray]) -> tuple[Array, Array]:
    """Run the exported decoding alone; returns [M, 4] and [M, classes]."""
    graph = Graph(batch=1, half=False)
    for head, layer in zip(heads, model.cfg.heads, strict=True):
        name = f"raw_{layer.index}"
        found = emit_decoded(
            graph, model, layer, Tensor(graph.input(name, layer.input), layer.input)
        )
        graph.output_as(f"boxes_{layer.index}", found.boxes, 1, found.count, 4)
        graph.output_as(f"scores_{layer.index}", found.scores, 1, found.count, layer.classes)
        assert head.shape == layer.input
    session = onnxruntime.InferenceSession(graph.serialize(), providers=["CPUExecutionProvider"])
    inputs = {
        f"raw_{layer.index}": raw[np.newaxis]
        for raw, layer in zip(heads, model.cfg.heads, strict=True)
    }
    outputs = session.run(None, inputs)
    return np.concatenate(outputs[::2], axis=1)[0], np.concatenate(outputs[1::2], axis=1)[0]


def centred(corners: Array) -> Array:
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate(((low + high) / 2, high - low), axis=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("text", "dialect"), HEADS)
def test_a_graph_decodes_random_heads_as_the_library_does(
    text: str, dialect: Dialect, seed: int
) -> None:
    model = model_of(text, dialect=dialect)
    heads, net = heads_of(model, seed), model.cfg.net.input
    if "new_coords" in text:
        heads = [logistic(raw) for raw in heads]  # as the convolution before such a head does
    expected = Decoder(model).decode(heads, (net.height, net.width), Thresholds(0.3, nms=0))
    boxes, scores = decoded_by_a_graph(model, heads)
    rows, class_ids = np.nonzero(scores > np.float32(0.3))
    assert len(expected) > 5
    assert class_ids.tolist() == expected.class_ids.tolist()
    np.testing.assert_allclose(scores[rows, class_ids], expected.scores, atol=1e-6)
    np.testing.assert_allclose(centred(boxes[rows]), expected.boxes, rtol=1e-5, atol=1e-3)


def session_of(model: Model, options: ExportOptions) -> onnxruntime.InferenceSession:
    graph = export_onnx(model, options)
    onnx.checker.check_model(graph, full_check=True)
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def images_of(model: Model, count: int) -> Array:
    random = np.random.default_rng(3)
    return random.random((count, *model.cfg.net.input), np.float32)


@pytest.mark.parametrize("opset", [OPSETS.start, 17, OPSETS.stop - 1])
def test_a_file_is_valid_and_equal_in_every_operator_set(opset: int) -> None:
    model = model_of(TINY)
    images = images_of(model, 2)
    expected = session_of(model, ExportOptions()).run(None, {"images": images})
    for found, other in zip(
        session_of(model, ExportOptions(opset=opset)).run(None, {"images": images}),
        expected,
        strict=True,
    ):
        np.testing.assert_array_equal(found, other)
    session_of(model, ExportOptions(opset=opset, nms=True)).run(None, {"images": images})


def test_suppression_in_the_graph_keeps_what_the_library_keeps() -> None:
    model = model_of(TINY)
    images = images_of(model, 3)
    all_boxes, all_scores = session_of(model, ExportOptions()).run(None, {"images": images})
    given = {"images": images, "threshold": np.array([0.02], "f4"), "nms": np.array([0.3], "f4")}
    boxes, scores, class_ids, counts = session_of(model, ExportOptions(nms=True)).run(None, given)
    starts = np.cumsum(counts) - counts
    for start, count, own_boxes, own_scores in zip(
        starts, counts, all_boxes, all_scores, strict=True
    ):
        rows, classes = np.nonzero(own_scores > np.float32(0.02))
        values = own_scores[rows, classes]
        keep = suppress(centred(own_boxes[rows]), values, classes.astype(np.int32), 0.3)
        assert 0 < count == keep.sum() < len(keep)
        expected = sorted(
            (int(c), -float(s), b.tolist())
            for c, s, b in zip(classes[keep], values[keep], own_boxes[rows][keep], strict=True)
        )
        part = slice(start, start + count)
        found = [
            (int(c), -float(s), b.tolist())
            for c, s, b in zip(class_ids[part], scores[part], boxes[part], strict=True)
        ]
        assert found == expected


def test_thresholds_have_defaults_and_0_turns_suppression_off() -> None:
    model, options = model_of(TINY), ExportOptions(nms=True, thresholds=Thresholds(0.02, nms=0))
    images = images_of(model, 1)
    session = session_of(model, options)
    _, found, _, (count,) = session.run(None, {"images": images})
    _, every = session_of(model, ExportOptions()).run(None, {"images": images})
    assert count == len(found) == (every > np.float32(0.02)).sum() > 0
    nothing = session.run(None, {"images": images, "threshold": np.ones(1, "f4")})
    assert [output.shape[0] for output in nothing] == [0, 0, 0, 1]


def test_openvino_computes_what_onnx_runtime_computes() -> None:
    model = model_of(TINY)
    images = images_of(model, 2)
    for options in (ExportOptions(), ExportOptions(nms=True, thresholds=Thresholds(0.02))):
        expected = session_of(model, options).run(None, {"images": images})
        found = run_openvino(export_onnx(model, options), images)
        for mine, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


def test_half_precision_stays_close_and_takes_half_of_the_space() -> None:
    model = model_of(TINY)
    images = images_of(model, 1)
    boxes, scores = session_of(model, ExportOptions()).run(None, {"images": images})
    half = session_of(model, ExportOptions(half=True)).run(None, {"images": images})
    np.testing.assert_allclose(half[0], boxes, atol=0.5)
    np.testing.assert_allclose(half[1], scores, atol=5e-3)
    assert half[0].dtype == np.float32


def test_a_fixed_batch_is_the_shape_of_the_file() -> None:
    session = session_of(model_of(TINY), ExportOptions(batch=4))
    assert session.get_inputs()[0].shape == [4, 3, 48, 64]
    assert session.get_outputs()[0].shape[0] == 4


def test_raw_heads_are_those_of_the_engines() -> None:
    session = session_of(model_of(TINY), ExportOptions(raw=True))
    assert [output.name for output in session.get_outputs()] == ["yolo_3"]


def test_metadata_is_in_the_file() -> None:
    graph = export_onnx(model_of(TINY), metadata={"names": json.dumps(["kočka"])})
    found = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert found.get_modelmeta().custom_metadata_map == {"names": '["ko\\u010dka"]'}


def test_what_cannot_be_exported_is_refused_in_words() -> None:
    with pytest.raises(UnsupportedError, match="opset 9: expected 13 to"):
        ExportOptions(opset=9)
    with pytest.raises(UnsupportedError, match="raw heads have no boxes"):
        ExportOptions(raw=True, nms=True)
