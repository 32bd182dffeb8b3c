"""The right frames of videos at the right times, whatever made them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support.publisher import publishing
from tests.support.videos import (
    SMALL_CLOCK,
    UNEVEN,
    Seen,
    ffmpeg,
    frames_of,
    make_video,
    need_video_tools,
)
from yolo_service.errors import ItemError
from yolo_service.inputs.videos import VideoOptions
from yolo_service.videos.selection import Selection
from yolo_service.videos.view import View


@pytest.fixture(autouse=True)
def _tools() -> None:
    need_video_tools()


def every(seconds: str) -> VideoOptions:
    return VideoOptions(Selection(every=Fraction(seconds)))


def first(count: int) -> VideoOptions:
    return VideoOptions(Selection(count=count))


FORMATS = {
    "mp4": [],
    "mkv": [],
    "mov": [],
    "ts": [],
    "webm": ["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M"],
    "avi": ["-c:v", "mpeg4", "-bf", "0", "-q:v", "3"],
    "mpg": ["-q:v", "3"],
    "h264": [],
    "wmv": ["-q:v", "3"],
    "flv": [],
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_frame_comes_once_and_at_its_time(tmp_path: Path, suffix: str) -> None:
    path = make_video(tmp_path / f"a.{suffix}", options=FORMATS[suffix])
    found = frames_of(path)
    assert [seen.number for seen in found] == list(range(50))
    assert [seen.time for seen in found] == pytest.approx(np.arange(50) / 25, abs=0.002)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_of_a_variable_rate_have_their_own_times(tmp_path: Path, suffix: str) -> None:
    options = [*UNEVEN, *SMALL_CLOCK] if suffix == "mp4" else UNEVEN
    found = frames_of(make_video(tmp_path / f"a.{suffix}", options=options))
    assert [seen.number for seen in found] == list(range(50))
    times = [(n + n // 2) / 25 for n in range(50)]
    assert [seen.time for seen in found] == pytest.approx(times, abs=0.002)


def test_of_a_variable_rate_the_frames_that_are_shown_at_the_times_are_taken(
    tmp_path: Path,
) -> None:
    path = make_video(tmp_path / "a.mp4", options=[*UNEVEN, *SMALL_CLOCK])
    shown = {t: max(n for n in range(50) if n + n // 2 <= t) for t in range(75)}
    found = [seen.number for seen in frames_of(path, every("0.2"))]
    assert found == [shown[t] for t in range(0, 75, 5)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("rate", "seconds"), [(25, "0.2"), (30, "0.1"), (30, "1/30"), (24, "1")])
def test_every_so_many_seconds(tmp_path: Path, suffix: str, rate: int, seconds: str) -> None:
    """Also where the container rounds times to milliseconds."""
    path = make_video(tmp_path / f"a.{suffix}", rate=rate)
    step = int(rate * Fraction(seconds))
    assert [seen.number for seen in frames_of(path, every(seconds))] == list(range(0, 50, step))


def test_sound_that_begins_before_the_video_does_not_move_its_times(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", sound=True)
    second = frames_of(path, every("0.2"))[1]
    assert second.number == 5
    assert second.time == pytest.approx(0.2, abs=0.001)


def test_more_often_than_there_are_frames_gives_each_once(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 10)
    assert [seen.number for seen in frames_of(path, every("0.01"))] == list(range(10))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
@pytest.mark.parametrize(
    ("count", "numbers"), [(1, [25]), (2, [12, 37]), (5, [5, 15, 25, 35, 45]), (99, range(50))]
)
def test_frames_in_the_middles_of_equal_parts(
    tmp_path: Path, suffix: str, count: int, numbers: list[int]
) -> None:
    """Also where no header says how long the video is."""
    path = make_video(tmp_path / f"a.{suffix}")
    assert [seen.number for seen in frames_of(path, first(count))] == list(numbers)


def test_sound_that_is_longer_does_not_move_the_middles(tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=9", sound)
    path = make_video(tmp_path / "a.mkv", options=["-i", str(sound), "-c:a", "aac"])
    assert [seen.number for seen in frames_of(path, first(2))] == [12, 37]


@pytest.mark.parametrize("size", [(320, 180), (321, 241), (199, 333)])
@pytest.mark.parametrize("codec", [["-c:v", "ffv1"], ["-c:v", "libx264", "-pix_fmt", "yuv444p"]])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int], codec: list[str]) -> None:
    found = frames_of(make_video(tmp_path / "a.mkv", 6, size=size, options=codec))
    assert [seen[::2] for seen in found] == [(n, size) for n in range(6)]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_rotation_of_the_container_is_honoured(tmp_path: Path, degrees: int) -> None:
    """The pixels in the file are turned, and the container says how to turn them back."""
    turned = {90: "transpose=clock", 180: "hflip,vflip", 270: "transpose=cclock"}[degrees]
    stored = make_video(tmp_path / "stored.mp4", 6, options=["-vf", turned])
    path = tmp_path / "a.mp4"
    ffmpeg("-i", stored, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", path)
    assert [seen[::2] for seen in frames_of(path)] == [(n, (320, 180)) for n in range(6)]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotate_turns_clockwise(tmp_path: Path, degrees: int) -> None:
    turned = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}[degrees]
    path = make_video(tmp_path / "a.mp4", 3, options=["-vf", turned])
    found = frames_of(path, VideoOptions(view=View(rotate=degrees)))
    assert [seen[::2] for seen in found] == [(n, (320, 180)) for n in range(3)]


def test_size_is_the_longest_side_and_enlarges_nothing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 2)
    for size, expected in [(160, (160, 90)), (320, (320, 180)), (9999, (320, 180))]:
        found = frames_of(path, VideoOptions(view=View(size=size)))
        assert found == [
            Seen(n, pytest.approx(n / 25), expected)  # type: ignore[arg-type]
            for n in range(2)
        ]


@pytest.mark.parametrize("colours", ["bt709", "smpte170m", None])
def test_colours_are_those_of_ffmpeg(tmp_path: Path, colours: str | None) -> None:
    says = ["-colorspace", colours, "-color_range", "tv"] if colours else []
    size = ["-vf", "format=yuv420p", "-c:v", "libx264", "-qp", "0"]
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:duration=0.2", *size, *says, path)
    from yolo_service.videos.reader import VideoReader

    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-frames:v", "1", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(240, 320, 3).astype(int)
    reader = VideoReader(path)
    frame = next(reader.frames())
    assert np.abs(frame.pixels(View()) - expected).mean() < 1.0
    reader.close()


def test_a_video_at_an_address(tmp_path: Path) -> None:
    """Its index is behind its frames, and its name says nothing."""
    data = make_video(tmp_path / "a.mp4", 8).read_bytes()
    with publishing({"latest": data}) as publisher:
        found = frames_of(f"{publisher.url}/latest")
    assert [seen.number for seen in found] == list(range(8))
    assert len(publisher.asked) == 1


def test_nothing_is_left_of_a_video_at_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_video(tmp_path / "a.mp4", 8).read_bytes()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with publishing({"a.mp4": data}) as publisher:
        frames_of(f"{publisher.url}/a.mp4")
        assert list(folder.iterdir()) == []
        publisher.cut.append(1000)
        with pytest.raises(ItemError, match="broke off after 1000 bytes"):
            frames_of(f"{publisher.url}/a.mp4")
    assert list(folder.iterdir()) == []


def test_a_video_is_known_by_its_content(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", 3)
    for name in ("a.jpg", "video"):
        assert len(frames_of(video.rename(tmp_path / name))) == 3
        (tmp_path / name).rename(video)
