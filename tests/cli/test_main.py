"""The command ``yolo-service``, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from darknet.cfg import parse_cfg
from tests.support.command import run
from tests.support.networks import TINY, write_model


@pytest.mark.parametrize(
    "command", "serve detect models train evaluate quantize benchmark doctor".split()
)
def test_every_command_has_a_help_text(command: str) -> None:
    answer = run(command, "--help")
    assert answer.returncode == 0
    assert command in answer.stdout
    assert command in run("--help").stdout


def test_a_misspelt_variable_is_warned_about(models: Path) -> None:
    answer = run("models", "list", YOLO_MODEL_DIR=str(models))
    assert answer.returncode == 0
    assert "warning: YOLO_MODEL_DIR is no setting; did you mean YOLO_MODELS_DIR?" in answer.stderr


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
    options = ("--engine", "openvino", "--device", "GPU.7", "--port", "0")
    answer = run("serve", *options, "--models-dir", models)
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


def test_an_input_size_that_does_not_fit_names_the_nearest(models: Path, tmp_path: Path) -> None:
    wrong = run(
        *("models", "export", "a-tiny", "--to", tmp_path / "a.onnx"),
        *("--models-dir", models, "--input-size", "50"),
    )
    assert wrong.returncode == 1
    assert "input_size: expected a width that is a multiple of 4" in wrong.stderr
    assert "the nearest is 52x52" in wrong.stderr
    assert run("doctor", YOLO_INPUT_SIZE="large").returncode == 2
