"""The command ``yolo-service detect``, run as a user runs it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.command import COMMAND, run
from tests.support.web_folder import serving


def write(path: Path, width: int = 96) -> Path:
    """Write an image in which the small models find something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (64, width, 3), np.uint8)
    encoded = cv2.imencode(".jpg" if path.suffix.lower() == ".jpg" else ".png", pixels)[1]
    path.write_bytes(encoded.tobytes())
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an image in which the small models find something, and a broken one."""
    write(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.jpg").write_bytes(b"not an image")
    return tmp_path / "images"


Detect = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def detect(models: Path) -> Detect:
    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run("detect", "--threshold", "0.01", "--models-dir", models, *arguments)

    return call


def test_one_line_of_json_is_printed_per_image_and_images_are_drawn(
    detect: Detect, images: Path, tmp_path: Path
) -> None:
    answer = detect(images, "--draw", tmp_path / "out")
    found, failed = map(json.loads, answer.stdout.splitlines())
    assert answer.returncode == 1
    assert found["model"] == "a-tiny"
    assert found["file"] == str(images / "a.png")
    assert found["image"] == {"width": 96, "height": 64}
    assert {item["label"] for item in found["detections"]} == {"cat", "dog"}
    assert failed["file"].endswith("b.jpg")
    assert "no image of a known format" in failed["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    drawn = cv2.imread(str(tmp_path / "out" / "a.png"))
    assert drawn is not None
    assert drawn.shape == (64, 96, 3)


def test_the_last_line_says_how_many_and_the_exit_code_whether_any_failed(
    detect: Detect, images: Path
) -> None:
    answer = detect(images)
    assert answer.returncode == 1
    assert re.match(r"2 images: 1 done, 1 failed in \d:\d\d$", answer.stderr.splitlines()[-1])
    answer = detect(images / "a.png")
    assert answer.returncode == 0
    assert answer.stderr.splitlines()[-1].startswith("1 image: 1 done, 0 failed")


def test_what_is_below_the_threshold_of_another_class_or_elsewhere_is_left_out(
    detect: Detect, images: Path
) -> None:
    def found(*arguments: str) -> list[dict[str, Any]]:
        return list(json.loads(detect(images / "a.png", *arguments).stdout)["detections"])

    everything = found()
    assert found("--threshold", "1") == []
    dogs = [each for each in everything if each["label"] == "dog"]
    assert found("--classes", "dog") == dogs != []
    left = [each for each in everything if each["box"]["x"] <= 48]
    assert found("--region", "0,0,0.5,1") == left
    assert 0 < len(left) < len(everything)


def test_images_of_the_same_name_have_results_and_drawings_of_their_own(
    detect: Detect, tmp_path: Path
) -> None:
    widths = {"one/cat.jpg": 90, "one/cat.png": 80, "two/cat.jpg": 70}
    paths = [write(tmp_path / "in" / name, width) for name, width in widths.items()]
    answer = detect(*paths, "--to", tmp_path / "out", "--draw", tmp_path / "drawn")
    assert answer.returncode == 0, answer.stderr
    for name, width in widths.items():
        result = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert result["image"]["width"] == width
        drawn = cv2.imread(str(tmp_path / "drawn" / name))
        assert drawn is not None
        assert drawn.shape[1] == width


def test_a_list_of_names_comes_on_standard_input(models: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "folder" / "b.png")
    answer = subprocess.run(
        [COMMAND, "detect", "-", "--models-dir", models],
        input=f"{tmp_path}/a.png\n{tmp_path}/folder\n{tmp_path}/missing.png",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    names = [Path(line["file"]).name for line in lines]
    assert names == ["a.png", "b.png", "missing.png"]
    assert "No such file" in lines[2]["error"]
    assert answer.returncode == 1


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server with an image."""
    write(tmp_path / "site" / "photos" / "a.png")
    with serving(tmp_path / "site") as url:
        yield url


def test_an_image_at_an_address_is_read_and_its_result_has_a_place(
    detect: Detect, site: str, tmp_path: Path
) -> None:
    addresses = [f"{site}/photos/a.png", f"{site}/../photos/a.png?x=1/2", f"{site}/missing.jpg"]
    answer = detect(*addresses, "http://127.0.0.1:9/x.jpg", "--to", tmp_path / "out")
    assert answer.returncode == 1
    host = site.removeprefix("http://")
    found = {path.relative_to(tmp_path / "out" / host).as_posix() for path in
             (tmp_path / "out" / host).rglob("*.*") if path.is_file()}  # fmt: skip
    assert found == {"photos/a.png.json", "photos/a.png?x=1%2F2.json", "missing.jpg.error.txt"}
    assert "answered 404" in (tmp_path / "out" / host / "missing.jpg.error.txt").read_text()
    refused = (tmp_path / "out" / "127.0.0.1:9" / "x.jpg.error.txt").read_text()
    assert "refused" in refused


def test_one_file_for_all_is_written_and_resumed(
    detect: Detect, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    detect(images, "--to", path)
    with path.open() as file:
        before = list(csv.DictReader(file))
    assert {row["file"] for row in before} == {"a.png"}
    refused = detect(images, "--to", path)
    assert refused.returncode == 2
    assert "exists; remove it, or continue it with --resume" in refused.stderr
    write(images / "c.png")
    again = detect(images, "--to", path, "--resume")
    assert "3 images: 1 done, 1 failed, 1 skipped" in again.stderr
    with path.open() as file:
        after = list(csv.DictReader(file))
    assert after[: len(before)] == before
    assert {row["file"] for row in after} == {"a.png", "c.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--delete-input", "--move-input", "x"], "exclude each other"),
        (["--resume"], "expected --to PLACE"),
        (["--stop-file", "x"], "--stop-file ends --watch"),
        (["--classes", "dgo"], "--classes: the model has no class 'dgo'"),
        (["--region", "1,2,3"], "--region: expected x,y,width,height"),
        (["--format", "yolo"], "--format yolo"),
        (["--to", "s4://x"], "s4:// is not known"),
        (["missing.jpg"], "missing.jpg does not exist"),
        (["--tiles", "9x9"], "--tiles: expected at most 32 tiles, found 81"),
        (["--to", "x.txt"], "x.txt: expected a folder or a .csv, .json, .jsonl or .parquet file"),
        (["--draw", "x.gif"], "x.gif: expected a folder or a video such as a.mp4"),
        (["--watch", "http://127.0.0.1:1/a.jpg"], "only folders and s3:// addresses can be"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    detect: Detect, images: Path, arguments: list[str], words: str
) -> None:
    answer = detect(images, *arguments)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_model_that_is_broken_fails_the_run_and_no_image(
    models: Path, images: Path, tmp_path: Path
) -> None:
    broken = ("--models-dir", str(models), "--model", "c-broken")
    answer = run("detect", images, *broken, "--failed", tmp_path / "failed")
    assert answer.returncode == 1
    assert "c-broken" in answer.stderr
    assert len(list(images.iterdir())) == 2


def test_a_terminal_shows_a_bar_or_a_table(models: Path, tmp_path: Path) -> None:
    def shown(*arguments: str | Path) -> str:
        """Run with a terminal as standard output and error."""
        ours, theirs = pty.openpty()
        command = [str(COMMAND), "detect", str(tmp_path / "in"), "--models-dir", str(models)]
        with subprocess.Popen([*command, *arguments], stdout=theirs, stderr=theirs):
            os.close(theirs)
            text = b""
            with contextlib.suppress(OSError):  # that is how the end of a terminal looks
                while piece := os.read(ours, 1 << 16):
                    text += piece
        os.close(ours)
        return text.decode()

    for i in range(300):
        write(tmp_path / "in" / f"{i:03}.png")
    bar = shown("--to", tmp_path / "out")
    assert re.search(r"\r\[#*-*\] \d+%, \d+ of 300, [\d.]+ images/s, 0:\d\d left", bar), bar
    assert "300 images: 300 done, 0 failed" in bar.splitlines()[-1]
    table = shown("--threshold", "1").splitlines()
    assert table[0] == f"{tmp_path}/in/000.png  96 x 64  nothing"
    assert len(table) == 301


def test_a_reader_that_goes_away_is_one_clear_error(models: Path, tmp_path: Path) -> None:
    for i in range(200):
        write(tmp_path / "in" / f"{i}.png")
    command = [str(COMMAND), "detect", str(tmp_path / "in"), "--models-dir", str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout
        assert it.stderr
        it.stdout.readline()
        it.stdout.close()
        errors = it.stderr.read()
    assert it.returncode == 1
    assert "standard output cannot be written to" in errors
    assert "Traceback" not in errors


def test_images_are_cut_into_tiles(detect: Detect, images: Path) -> None:
    whole, tiled = detect(images / "a.png"), detect(images / "a.png", "--tiles", "2x2")
    assert tiled.returncode == 0
    assert json.loads(tiled.stdout)["detections"] != json.loads(whole.stdout)["detections"]
    wrong = detect(images / "a.png", "--tiles", "2")
    assert wrong.returncode == 2
    assert "--tiles: expected auto, or columns x rows" in wrong.stderr
