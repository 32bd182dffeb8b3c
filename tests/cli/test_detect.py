"""The command ``yolo-service detect``, run as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.command import run
from yolo_service.cli.detect import drawn_files
from yolo_service.images.decode import decode


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an image in which the small models find something, and a broken one."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    assert cv2.imwrite(str(folder / "a.png"), pixels)
    (folder / "b.jpg").write_bytes(b"not an image")
    return folder


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


def test_images_of_the_same_name_are_drawn_into_files_of_their_own(
    models: Path, tmp_path: Path
) -> None:
    widths = {"one/cat.jpg": 90, "one/cat.png": 80, "two/cat.jpg": 70}
    for name, width in widths.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), np.full((60, width, 3), 128, np.uint8))
    out = tmp_path / "out"
    paths = [tmp_path / name for name in widths]
    answer = run("detect", *paths, "--models-dir", models, "--draw", out)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 3
    drawn = {
        path.name: decode(path.read_bytes(), max_pixels=10**6).shape[1] for path in out.iterdir()
    }
    assert drawn == {"cat.jpg.png": 90, "cat.png.png": 80, "cat.jpg-2.png": 70}


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (["a/cat.jpg"], ["cat"]),
        (["a/cat.jpg", "a/cat.jpg"], ["cat"]),
        (["a/cat.jpg", "a/Cat.png"], ["cat.jpg", "Cat.png"]),
        (["a/cat.jpg", "b/cat.jpg", "c/cat.jpg"], ["cat.jpg", "cat.jpg-2", "cat.jpg-3"]),
        (["a/cat.jpg", "b/cat.jpg", "a/cat.jpg-2"], ["cat.jpg", "cat.jpg-2", "cat.jpg-2-2"]),
    ],
)
def test_every_image_has_a_drawn_file_of_its_own(
    tmp_path: Path, names: list[str], drawn: list[str]
) -> None:
    """File systems may ignore the case of names."""
    targets = drawn_files([Path(name) for name in names], tmp_path).values()
    assert [path.stem for path in targets] == drawn


def test_detect_cuts_images_into_tiles(models: Path, images: Path) -> None:
    options = ("--models-dir", models, "--threshold", "0.1")
    whole = run("detect", images / "a.png", *options)
    tiled = run("detect", images / "a.png", *options, "--tiles", "2x2")
    assert tiled.returncode == 0
    assert json.loads(tiled.stdout)["detections"] != json.loads(whole.stdout)["detections"]
    wrong = run("detect", images / "a.png", *options, "--tiles", "2")
    assert wrong.returncode == 1
    assert "tiles: expected auto, or columns x rows" in wrong.stderr
