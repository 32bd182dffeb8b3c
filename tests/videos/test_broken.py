"""Videos that cannot be read: one clear error each, and the others go on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.videos import ffmpeg, frames_of, make_video, need_video_tools
from yolo_service.errors import ItemError


@pytest.fixture(autouse=True)
def _tools() -> None:
    need_video_tools()


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def error_of(path: Path) -> str:
    with pytest.raises(ItemError) as caught:
        frames_of(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("mkv", []),
        ("mp4", ["-movflags", "faststart"]),
        ("webm", ["-c:v", "libvpx", "-b:v", "1M", "-deadline", "realtime"]),
        ("avi", ["-c:v", "mpeg4", "-bf", "0"]),
    ],
)
def test_cut_off(tmp_path: Path, suffix: str, options: list[str]) -> None:
    path = cut(make_video(tmp_path / f"a.{suffix}", 100, options=options), 0.6)
    error = error_of(path)
    assert "of 4.0 s; it is cut off (frames that were read: " in error


def test_cut_off_before_its_index(tmp_path: Path) -> None:
    error = error_of(cut(make_video(tmp_path / "a.mp4"), 0.6))
    assert "cut off before its index" in error


def test_cut_off_behind_its_head(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[:1200])
    assert "cut off" in error_of(path)


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 100, options=["-movflags", "faststart", "-g", "10"])
    data = bytearray(path.read_bytes())
    data[-4000:-2000] = bytes(2000)
    path.write_bytes(data)
    assert "cannot be decoded (frames that were read: " in error_of(path)


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    assert error_of(path) == "is empty; expected a video"


@pytest.mark.parametrize("suffix", ["m4a", "mp4", "wav", "mp3", "flac", "mkv"])
def test_only_sound(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    assert error_of(path) == "has no video, only sound; expected a video"


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    image = ["-f", "lavfi", "-i", "testsrc=duration=0.04"]
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", *image, "-map", "0", "-map", "1", path)
    assert error_of(path) == "has no video, only sound; expected a video"


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    make_video(tmp_path / "secret.ts", 5)
    path = tmp_path / "a.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    assert "cannot be opened as a video" in error_of(path)


def test_without_pyav_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "yolo_service.videos.reader", raising=False)
    assert error_of(path) == "is a video, which needs PyAV: pip install 'yolo-service[video]'"


def test_the_others_go_on(models: Path, tmp_path: Path) -> None:
    """One error for each of four, and all frames of the others."""
    folder = tmp_path / "in"
    folder.mkdir()
    cut(make_video(folder / "b.mp4"), 0.6)
    (folder / "c.mp4").touch()
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", folder / "d.mp4")
    cut(make_video(folder / "e.mkv", 100), 0.6)
    make_video(folder / "a.mp4", 10)
    make_video(folder / "f.mp4", 10)
    failed = tmp_path / "failed"
    answer = run("detect", folder, "--models-dir", models, "--failed", failed)
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    errors = [Path(line["file"]).name for line in lines if "error" in line]
    assert answer.returncode == 1, answer.stderr
    assert errors == ["b.mp4", "c.mp4", "d.mp4", "e.mkv"]
    for good in ("a.mp4", "f.mp4"):
        frames = [line["frame"] for line in lines if line["file"].endswith(good)]
        assert frames == list(range(10))
    assert sum(line["file"].endswith("e.mkv") for line in lines) > 30
    assert sorted(path.name for path in failed.iterdir() if path.suffix != ".txt") == errors
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "f.mp4"]
