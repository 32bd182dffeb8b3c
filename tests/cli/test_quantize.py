"""The command quantize, and the precision that it makes possible, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("nncf")

from darknet.errors import QuantizationError
from tests.support.command import run
from tests.support.networks import write_model
from yolo_service.cli.quantize import MOST, find_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with three images and the text that labels one of them."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.png", "b.JPG", "c.bmp"):
        pixels = random.integers(0, 255, (64, 96, 3), np.uint8)
        assert cv2.imwrite(str(folder / name), pixels)
    (folder / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with one model."""
    return write_model(tmp_path / "models" / "tiny").parent


def test_a_model_is_quantized_and_then_serves_in_int8(models: Path, images: Path) -> None:
    done = run("quantize", "--models-dir", models, "--model", "tiny", "--images", images)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"tiny: int8 version in {models / 'tiny' / 'model.int8'}, calibrated on 3 images\n"
    )
    assert "3/3" in done.stderr  # how far it was
    where = {"YOLO_MODELS_DIR": str(models), "YOLO_PRECISION": "int8"}
    answer = run("detect", images / "a.png", "--threshold", "0.01", **where)
    assert json.loads(answer.stdout)["precision"] == "int8"
    table = run("benchmark", "--seconds", "0.1", "--threads", "1", **where).stdout
    assert " int8 " in table
    assert "libdarknet int8" not in table
    assert "openvino on CPU in int8" in run("doctor", **where).stdout


def test_without_an_int8_version_the_benchmark_says_how_to_make_one(models: Path) -> None:
    table = run("benchmark", "--models-dir", models, "--seconds", "0.1", "--threads", "1").stdout
    assert "openvino int8: not measured: precision=int8 needs" in table
    assert "yolo-service quantize" in table


def test_a_damaged_image_is_named_and_nothing_is_written(models: Path, images: Path) -> None:
    (images / "d.png").write_bytes((images / "a.png").read_bytes()[:100])
    done = run("quantize", "--models-dir", models, "--images", images)
    assert done.returncode == 1
    assert "d.png: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(models.rglob("*.int8"))


def test_of_many_images_some_from_all_over_the_folder_are_taken(tmp_path: Path) -> None:
    for number in range(2 * MOST + 1):
        (tmp_path / f"{number:04}.jpg").touch()
    found = find_images(tmp_path)
    assert MOST / 2 < len(found) <= MOST
    assert found[0].name == "0000.jpg"
    assert found[-1].name > f"{2 * MOST - 3:04}.jpg"


def test_a_folder_without_images_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").touch()
    with pytest.raises(QuantizationError, match=r"expected images \(.*\.jpg.*found none"):
        find_images(tmp_path)
