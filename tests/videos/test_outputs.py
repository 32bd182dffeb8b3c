"""What ``detect`` writes about videos: lines, saved frames, reports, and annotated videos."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.command import COMMAND, run
from tests.support.videos import (
    SMALL_CLOCK,
    UNEVEN,
    ffmpeg,
    frames_of,
    make_video,
    need_video_tools,
    number_in,
)
from yolo_service.images.decode import decode


@pytest.fixture(autouse=True)
def _tools() -> None:
    need_video_tools()


def detect(models: Path, *arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    """Run ``detect`` at a threshold at which the small models find something."""
    answer = run("detect", *arguments, "--models-dir", models, "--threshold", "0.01")
    assert answer.returncode == code, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def table(path: Path) -> dict[str, list[str]]:
    head, *rows = csv.reader(path.read_text().splitlines())
    return dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))


def probe(path: Path, kind: str, entries: str) -> list[list[str]]:
    """Return what ffprobe tells of the packets or frames of a stream, by time."""
    command = ["ffprobe", "-v", "error", "-select_streams", kind, "-show_entries", entries]
    answer = subprocess.run([*command, "-of", "csv=p=0", path], capture_output=True, check=True)
    return [line.strip(",").split(",") for line in answer.stdout.decode().split()]


def times(path: Path) -> list[float]:
    return sorted(float(row[0]) for row in probe(path, "v", "packet=pts_time"))


def test_each_frame_has_a_line_with_its_time(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 12)
    lines = detect(models, path, "--every", "0.2")
    assert [(line["frame"], line["time"]) for line in lines] == [(0, 0.0), (5, 0.2), (10, 0.4)]
    assert {line["file"] for line in lines} == {str(path)}
    assert all(line["detections"] for line in lines)


def test_frames_fps_rotate_and_size(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 50)
    lines = detect(models, path, "--frames", "2", "--rotate", "90", "--size", "160")
    assert [line["frame"] for line in lines] == [12, 37]
    assert lines[0]["image"] == {"width": 90, "height": 160}
    assert [line["frame"] for line in detect(models, path, "--fps", "1")] == [0, 25]


def test_options_that_contradict_each_other_are_refused(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 2)
    answer = run("detect", path, "--fps", "1", "--every", "2", "--models-dir", models)
    assert answer.returncode != 0
    assert "--every, --fps and --frames exclude each other" in answer.stderr
    answer = run("detect", path, "--every", "0", "--models-dir", models)
    assert "0 is no number above 0" in answer.stderr


def test_saved_frames(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = make_video(folder / "a.mp4", 12)
    detect(models, path, "--every", "0.2", "--save-frames", tmp_path / "one")
    saved = sorted((tmp_path / "one").iterdir())
    assert [each.name for each in saved] == ["img_001.jpg", "img_002.jpg", "img_003.jpg"]
    numbers = [number_in(decode(each.read_bytes(), max_pixels=10**6)) for each in saved]
    assert numbers == [0, 5, 10]
    make_video(folder / "b.mp4", 2)
    detect(models, folder, "--save-frames", tmp_path / "all")
    assert len(list((tmp_path / "all" / "a.mp4.frames").iterdir())) == 12
    assert len(list((tmp_path / "all" / "b.mp4.frames").iterdir())) == 2


def test_the_report_counts_what_the_lines_have(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 12)
    lines = detect(models, path, "--report", tmp_path / "out")
    found = table(tmp_path / "out" / "a.mp4.frames" / "frames.csv")
    assert list(found)[:5] == ["frame", "time", "objects", "confidence", "sharpness"]
    for number, line in enumerate(lines):
        labels = [each["label"] for each in line["detections"]]
        assert float(found["time"][number]) == line["time"]
        assert int(found["objects"][number]) == len(labels)
        for name in set(found) & {"cat", "dog"}:
            assert int(found[name][number]) == labels.count(name)
        mean = statistics.fmean(each["confidence"] for each in line["detections"])
        assert float(found["confidence"][number]) == pytest.approx(mean, abs=1e-5)
        assert float(found["sharpness"][number]) == line["sharpness"] > 0
    assert set(found) & {"cat", "dog"}


def test_the_statistics_are_those_of_the_table(models: Path, tmp_path: Path) -> None:
    """Also where some cells are empty: at this threshold some frames have no object."""
    path = make_video(tmp_path / "a.mp4", 30)
    detect(models, path, "--report", tmp_path)
    folder = tmp_path / "a.mp4.frames"
    found, described = table(folder / "frames.csv"), table(folder / "statistics.csv")
    rows = described.pop("")
    assert rows == ["count", "mean", "std", "min", "25%", "50%", "75%", "max"]
    assert list(described) == list(found)
    for name, cells in found.items():
        values = [float(cell) for cell in cells if cell]
        quartiles = statistics.quantiles(values, n=4, method="inclusive")
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        expected = [len(values), mean, deviation, min(values), *quartiles, max(values)]
        assert [float(cell) for cell in described[name]] == pytest.approx(expected)


def test_the_plot_is_an_image_with_a_line_for_each_class(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 12)
    detect(models, path, "--to", tmp_path / "out")
    root = ElementTree.parse(tmp_path / "out" / "a.mp4.frames" / "counts.svg").getroot()
    texts = [each.text for each in root.iter() if each.tag.endswith("text")]
    classes = set(table(tmp_path / "out" / "a.mp4.frames" / "frames.csv")) & {"cat", "dog"}
    assert classes <= set(texts)
    assert len([each for each in root.iter() if each.tag.endswith("polyline")]) == len(classes)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_an_annotated_video_has_the_timing_and_the_sound_of_the_original(
    models: Path, tmp_path: Path, suffix: str
) -> None:
    clock = [] if suffix == "mkv" else SMALL_CLOCK
    options = [*UNEVEN, *clock, "-c:a", "aac"]
    path = make_video(tmp_path / f"a.{suffix}", 40, options=options, sound=True)
    out = tmp_path / f"out.{suffix}"
    detect(models, path, "--draw", out)
    assert times(out) == pytest.approx(times(path), abs=0.0011)
    sound = probe(path, "a", "packet=pts_time,size")
    assert len(sound) > 50
    assert [row[1] for row in probe(out, "a", "packet=pts_time,size")] == [row[1] for row in sound]
    copied = ["-map", "0:a", "-c", "copy", "-f", "streamhash", "-"]
    assert ffmpeg("-i", out, *copied) == ffmpeg("-i", path, *copied)
    started = [float(row[0]) for row in probe(out, "a", "packet=pts_time")]
    assert started == pytest.approx([float(row[0]) for row in sound], abs=0.0011)
    durations = [float(probe(each, "v", "format=duration")[0][0]) for each in (out, path)]
    assert durations[0] == pytest.approx(durations[1], abs=0.05)


def test_an_annotated_video_shows_the_frames_with_boxes(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 8, size=(321, 241), options=["-pix_fmt", "yuv444p"])
    (line, *_) = detect(models, path, "--draw", tmp_path / "out", "--save-frames", tmp_path / "s")
    assert line["detections"]
    drawn, plain = tmp_path / "out" / "a.mp4", tmp_path / "s" / "img_001.jpg"
    raw = ffmpeg("-i", drawn, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    frames = np.frombuffer(raw, np.uint8).reshape(8, 242, 322, 3)
    before = decode(plain.read_bytes(), max_pixels=10**6).astype(int)
    changed = np.abs(frames[0, :241, :321] - before).max(axis=2) > 100
    assert 0.001 < changed.mean() < 0.9


def test_a_turned_video_is_drawn_upright(models: Path, tmp_path: Path) -> None:
    stored = make_video(tmp_path / "stored.mp4", 3, options=["-vf", "transpose=clock"])
    path = tmp_path / "a.mp4"
    ffmpeg("-i", stored, "-c", "copy", "-metadata:s:v", "rotate=90", path)
    answer = run(
        "detect", path, "--models-dir", models, "--threshold", "1", "--draw", tmp_path / "o"
    )
    assert answer.returncode == 0, answer.stderr
    found = frames_of(tmp_path / "o" / "a.mp4")
    assert [seen[::2] for seen in found] == [(n, (320, 180)) for n in range(3)]


def test_a_folder_is_drawn_into_a_folder(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "a.mp4", 3)
    make_video(folder / "b.avi", 3, options=["-c:v", "mpeg4", "-bf", "0"])
    assert cv2.imwrite(str(folder / "c.png"), np.zeros((48, 64, 3), np.uint8))
    detect(models, folder, "--draw", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.mp4",
        "b.avi.mkv",
        "c.png",
    ]


def test_a_folder_may_be_called_like_a_video(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", 3)
    detect(models, path, "--draw", f"{tmp_path}/out.mp4/")
    assert [found.name for found in (tmp_path / "out.mp4").iterdir()] == ["a.mkv"]


def test_one_file_is_for_one_video(models: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_video(tmp_path / name, 3)
    out = tmp_path / "out.mp4"
    paths = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    answer = run("detect", *paths, "--models-dir", models, "--draw", out)
    assert answer.returncode != 0
    assert "is for one video; expected a folder for several" in answer.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_video_that_is_not_written_is_told(models: Path, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    arguments: list[str | Path] = ["--models-dir", models, "--draw", tmp_path / "out.mp4"]
    answer = run("detect", tmp_path / "a.png", *arguments)
    assert "out.mp4 is not written: expected a video, found none" in answer.stderr


def test_a_video_is_not_drawn_over_itself(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 3)
    before = path.read_bytes()
    answer = run("detect", path, "--models-dir", models, "--draw", path)
    assert "is where the images are; choose another place" in answer.stderr
    assert path.read_bytes() == before


def test_saved_frames_are_no_input(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "a.mp4", 3)
    for _ in range(2):
        assert len(detect(models, folder, "--save-frames", folder / "frames")) == 3


def test_a_run_that_is_resumed_writes_nothing_twice(models: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 12)
    out = tmp_path / "out.jsonl"
    options: list[str | Path] = ["--to", out, "--report", tmp_path / "report", "--resume"]
    detect(models, path, *options, "--limit", "5")
    detect(models, path, *options)
    detect(models, path, *options)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert len(table(tmp_path / "report" / "a.mp4.frames" / "frames.csv")["frame"]) == 12


@pytest.mark.parametrize("sink", ["out.csv", "out.parquet", "out.json"])
def test_rows_of_frames_have_their_time_and_number(models: Path, tmp_path: Path, sink: str) -> None:
    path, out = make_video(tmp_path / "a.mp4", 10), tmp_path / sink
    lines = detect(models, path)
    detect(models, path, "--to", out)
    if sink == "out.csv":
        cells = list(csv.DictReader(out.read_text().splitlines()))
        rows = [(row["file"], float(row["time"]), int(row["frame"])) for row in cells]
    else:
        read = json.loads(out.read_text()) if sink == "out.json" else pq.read_table(out).to_pylist()
        name = "file_name" if sink == "out.json" else "file"
        rows = [(row[name], row["time"], row["frame"]) for row in read]
    expected = [
        (f"a.mp4.frames/img_{line['frame'] + 1:03}.jpg", line["time"], line["frame"])
        for line in lines
        for _ in line["detections"]
    ]
    assert rows == expected
    assert rows


@pytest.mark.parametrize("sink", ["out.jsonl", "out"])
def test_nothing_is_lost_or_written_twice_when_it_is_killed_within_a_video(
    models: Path, tmp_path: Path, sink: str
) -> None:
    video, out = make_video(tmp_path / "a.mp4", 400), tmp_path / sink
    report = tmp_path / "report"
    arguments: list[str | Path] = [video, "--to", out, "--report", report, "--resume"]
    arguments += ["--models-dir", models]

    def written() -> list[int]:
        if sink == "out":
            names = (path.name for path in out.glob("a.mp4.frames/*.jpg.json"))
            return sorted(int(name[4:].split(".")[0]) - 1 for name in names)
        text = out.read_text() if out.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line)["frame"] for line in whole]

    for part in (100, 250):
        process = subprocess.Popen([COMMAND, "detect", *arguments], stderr=subprocess.DEVNULL)
        with process:
            until = time.monotonic() + 60
            while len(written()) < part:
                assert time.monotonic() < until
                assert process.poll() is None, "it has ended before it could be killed"
            process.kill()
    before = len(written())
    assert before < 400
    done = run("detect", *arguments)
    assert done.returncode == 0, done.stderr
    assert written() == list(range(400))
    assert len(table(report / "a.mp4.frames" / "frames.csv")["frame"]) == 400
