"""The command ``yolo-service``, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from darknet.cfg import parse_cfg
from tests.support.command import run
from tests.support.networks import TINY, write_model


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an image in which the small models find something, and a broken one."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    assert cv2.imwrite(str(folder / "a.png"), pixels)
    (folder / "b.jpg").write_bytes(b"not an image")
    return folder


@pytest.mark.parametrize(
    "command", "serve detect models train evaluate quantize benchmark doctor".split()
)
def test_every_command_explains_itself(command: str) -> None:
    answer = run(command, "--help")
    assert answer.returncode == 0
    assert command in answer.stdout
    assert command in run("--help").stdout


def test_detect_prints_one_line_of_json_per_image_and_draws(
    models: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    answer = run("detect", images, "--threshold", "0.01", "--models-dir", models, "--draw", out)
    found, failed = map(json.loads, answer.stdout.splitlines())
    assert answer.returncode == 1
    assert found["model"] == "a-tiny"
    assert found["image"] == {"width": 96, "height": 64}
    assert {item["label"] for item in found["detections"]} <= {"cat", "dog"}
    assert found["detections"]
    assert failed["file"].endswith("b.jpg")
    assert failed["error"]
    drawn = cv2.imread(str(out / "a.png"))
    assert drawn is not None
    assert drawn.shape == (64, 96, 3)


def test_detect_leaves_out_what_is_below_the_threshold(models: Path, images: Path) -> None:
    answer = run("detect", images / "a.png", "--models-dir", models, "--threshold", "1")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["detections"] == []


def test_models_list_tells_what_is_wrong_with_a_folder(models: Path) -> None:
    lines = run("models", "list", "--models-dir", models).stdout
    assert "a-tiny" in lines
    assert "64 x 48" in lines
    assert "expected one .cfg" in lines


def test_models_check_prints_the_layers_and_the_first_fault(models: Path) -> None:
    good = run("models", "check", models / "a-tiny")
    assert good.returncode == 0
    assert "a-tiny: complete; 2 classes" in good.stdout
    assert len(good.stdout.splitlines()) == 1 + len(parse_cfg(TINY).layers) + 2
    bad = run("models", "check", models / "c-broken")
    assert bad.returncode == 1
    assert "has 2 classes, but the names list has 1" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_truncated_weights_file_is_named_by_models_check(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "short")
    path = folder / "model.weights"
    path.write_bytes(path.read_bytes()[:-4])
    answer = run("models", "check", folder)
    assert answer.returncode == 1
    assert "ends in layer 2" in answer.stderr


def test_benchmark_prints_every_engine_side_by_side(models: Path, libdarknet: Path) -> None:
    answer = run("benchmark", "--models-dir", models, "--seconds", "0.1", "--threads", "2")
    assert answer.returncode == 0
    rows = answer.stdout.splitlines()
    assert {row.split()[0] for row in rows[2:]} == {"libdarknet", "onnxruntime", "openvino"}
    assert any("times as fast as libdarknet" in row for row in rows)


def test_serving_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    answer = run("serve", "--models-dir", tmp_path)
    assert answer.returncode == 2
    assert "put one there as a folder with its .cfg, .weights and .names" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_bad_setting_is_one_readable_line(models: Path) -> None:
    answer = run("serve", YOLO_PORT="many", YOLO_MODELS_DIR=str(models))
    assert answer.returncode == 2
    assert "YOLO_PORT" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_device_is_an_error_and_never_a_fall_back(models: Path) -> None:
    answer = run("serve", "--engine", "openvino", "--device", "GPU.7", "--models-dir", str(models))
    assert answer.returncode != 0
    assert "GPU.7" in answer.stderr


def test_python_dash_m_darknet_prints_the_table(models: Path) -> None:
    folder = models / "a-tiny"
    answer = subprocess.run(
        [sys.executable, "-m", "darknet", folder / "model.cfg", folder / "model.weights"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "yolo" in answer.stdout
    assert "model.weights: matches the .cfg; trained on 32013312 images" in answer.stdout
