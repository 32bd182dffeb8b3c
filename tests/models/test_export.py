"""Exported files find what the library finds, with nothing but the code of docs/export.md."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result

from darknet.cfg import read_cfg
from darknet.detections import Detections, FloatArray
from darknet.engines import onnxruntime as engine
from darknet.engines.openvino import import_openvino
from darknet.model import Model, RgbImage
from darknet.network import Network, load_network
from darknet.onnx import ExportOptions, export_onnx
from darknet.resize import placement, resize_into
from tests.support.networks import random_weights, write_model
from tests.support.onnx_graphs import run_openvino
from tests.support.paths import ROOT
from yolo_service.cli.models import models as command
from yolo_service.errors import ConfigurationError
from yolo_service.images.decode import decode
from yolo_service.models.export import write_export
from yolo_service.models.folder import read_folder


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """The functions of docs/export.md."""
    names: dict[str, Any] = {}
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    return names


@pytest.fixture(scope="module")
def photo(darknet_data: Path) -> RgbImage:
    return decode((darknet_data / "data" / "dog.jpg").read_bytes(), max_pixels=10**7)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)


def corners(found: Detections) -> FloatArray:
    x, y, width, height = found.boxes.T
    return np.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), axis=1)


def assert_same(found: list[tuple[str, float, Any]], expected: Detections) -> None:
    rows = sorted((name, -score, *box) for name, score, box in found)
    names = [expected.names[i] for i in expected.class_ids]
    wanted = sorted(
        (name, -score, *box)
        for name, score, box in zip(names, expected.scores, corners(expected), strict=True)
    )
    assert len(wanted) > 0
    assert [row[0] for row in rows] == [row[0] for row in wanted]
    np.testing.assert_allclose([r[1] for r in rows], [r[1] for r in wanted], atol=1e-4)
    np.testing.assert_allclose([r[2:] for r in rows], [r[2:] for r in wanted], atol=0.1)


@pytest.mark.parametrize("name", ["blood-cells", "yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_the_documented_code_finds_what_the_library_finds(
    name: str, documented: dict[str, Any], photo: RgbImage, tmp_path: Path, request: Any
) -> None:
    own = name == "blood-cells"
    root = ROOT / "models" if own else request.getfixturevalue("shared") / "models"
    files = read_folder(root / name)
    image = smear(request.getfixturevalue("shared")) if own else photo
    path = write_export(files, ExportOptions(nms=True), tmp_path / "model.onnx")
    arguments = files.load_arguments() | {"nms_kind": "iou"}  # ONNX has no other
    with load_network(**arguments, engine="onnxruntime") as network:
        assert_same(documented["detect"](str(path), image), network.detect([image])[0])


def smear(shared: Path) -> RgbImage:
    path = min((shared / "datasets" / "bccd" / "images").iterdir())
    return decode(path.read_bytes(), max_pixels=10**7)


DETECTORS = (
    "yolov2 yolov2-tiny yolov2-tiny-voc yolov2-voc yolov3 yolov3-openimages yolov3-spp yolov3-tiny "
    "yolov3-voc".split()
)


@pytest.mark.parametrize("name", DETECTORS)
def test_published_networks_are_exported_with_the_librarys_boxes(
    name: str, darknet_data: Path, documented: dict[str, Any], photo: RgbImage
) -> None:
    cfg = read_cfg(darknet_data / "cfg" / f"{name}.cfg")
    names = tuple(f"class {i}" for i in range(cfg.classes))
    model = Model(cfg, random_weights(cfg), names, "pjreddie", "letterbox")
    height, width = cfg.net.input[1:]
    # Of the network's size, which every resize leaves as it is.
    image = np.tile(photo, (2, 1, 1))[:height, :width]
    images = documented["resize"](image, width, height)[np.newaxis]
    graph = export_onnx(model)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    boxes, scores = (output[0] for output in session.run(None, {"images": images}))
    threshold = between(scores)
    rows, class_ids = np.nonzero(scores > np.float32(threshold))
    with Network(model, engine.load(model, device=None, precision="fp32", streams=None)) as network:
        (expected,) = network.detect([image], threshold, nms=0)
    assert class_ids.tolist() == expected.class_ids.tolist()
    np.testing.assert_allclose(scores[rows, class_ids], expected.scores, atol=1e-4)
    np.testing.assert_allclose(boxes[rows], corners(expected), atol=0.1)
    others = [output[0] for output in run_openvino(graph, images)]
    np.testing.assert_allclose(others[1][rows, class_ids], expected.scores, atol=1e-4)
    np.testing.assert_allclose(others[0][rows], corners(expected), atol=0.1)


def between(scores: FloatArray) -> float:
    """Return a threshold that few scores exceed, as far from each as possible: none is rounded."""
    found = np.sort(scores, axis=None)[-2000:-100]
    gap = int(np.diff(found).argmax())
    return float((found[gap] + found[gap + 1]) / 2)


@pytest.mark.parametrize("size", [(720, 1280), (427, 640), (900, 2), (1, 1), (96, 160)])
def test_the_documented_resize_is_darknets(
    size: tuple[int, int], documented: dict[str, Any], photo: RgbImage
) -> None:
    image = np.tile(photo, (2, 2, 1))[: size[0], : size[1]]
    expected = np.empty((3, 608, 608), np.float32)
    resize_into(image, expected, "stretch")
    np.testing.assert_allclose(documented["resize"](image, 608, 608), expected, atol=1e-4)
    place = placement(size, (608, 608), "letterbox")
    assert documented["fit"](image, 608, 608, "letterbox") == (place.width, place.height)


@pytest.mark.parametrize("size", [(576, 768), (720, 1280), (700, 500)])
def test_the_documented_code_letterboxes_where_the_model_does(
    size: tuple[int, int],
    documented: dict[str, Any],
    photo: RgbImage,
    shared: Path,
    tmp_path: Path,
) -> None:
    found = read_folder(shared / "models" / "yolo-fastest-1.1")
    own = found.options.model_copy(update={"resize": "letterbox", "nms_kind": "iou"})
    files = dataclasses.replace(found, options=own)
    image = np.tile(photo, (2, 2, 1))[: size[0], : size[1]]
    path = write_export(files, ExportOptions(nms=True), tmp_path / "model.onnx")
    with load_network(**files.load_arguments(), engine="onnxruntime") as network:
        assert_same(documented["detect"](str(path), image), network.detect([image])[0])


def test_the_command_writes_a_file_with_what_a_reader_needs(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny")
    target = tmp_path / "out" / "tiny.onnx"
    result = run("export", "tiny", "--to", target, "--half", "--batch", 2, "--models-dir", tmp_path)
    assert result.stdout.startswith(f"tiny: exported to {target}, 0.0 MB")
    onnx.checker.check_model(str(target), full_check=True)
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [2, 3, 48, 64]
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["names"]) == ["cat", "dog"]
    assert json.loads(about["input_size"]) == [64, 48]
    assert (about["dialect"], about["resize"], about["license"]) == ("alexeyab", "stretch", "")
    assert re.fullmatch("[0-9a-f]{64}", about["weights_sha256"])
    assert [path.name for path in target.parent.iterdir()] == ["tiny.onnx"]


def test_the_command_writes_openvinos_format(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny")
    options = ("--format", "openvino", "--nms", "--models-dir", tmp_path)
    assert run("export", "tiny", "--to", tmp_path / "ov", *options).exit_code == 0
    core = import_openvino().Core()
    graph = core.read_model(tmp_path / "ov" / "tiny.xml")
    assert [output.any_name for output in graph.outputs] == [
        "boxes",
        "scores",
        "class_ids",
        "counts",
    ]
    assert graph.get_rt_info(["framework", "names"]).value == '["cat", "dog"]'


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    files = read_folder(write_model(tmp_path / "tiny"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/tiny.onnx cannot be written: .*--to"):
        write_export(files, ExportOptions(), tmp_path / "file" / "tiny.onnx")
