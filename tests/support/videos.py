"""Videos made by ffmpeg whose frames show their number, and what reads it back."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet.model import RgbImage
from tests.support.command import run
from tests.support.real_parts import installed, missing
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.videos import FrameItem, VideoOptions, WithVideos

BITS = 10
"""Of the number; the first column is white and the second one black, which tells a mirror image."""
EVERY_FRAME = VideoOptions()

UNEVEN = ["-vf", "settb=1/90000,setpts=(N+floor(N/2))*3600", "-vsync", "passthrough"]
"""Frames at 0, 1, 3, 4, 6, 7 ... of 1/25 s."""
SMALL_CLOCK = ["-enc_time_base", "1/90000", "-video_track_timescale", "90000"]


def need_video_tools() -> None:
    """Skip, or fail where CI is set, without ffmpeg or PyAV."""
    installed("ffmpeg", "ffmpeg")
    if importlib.util.find_spec("av") is None:
        missing("PyAV is missing; pip install av")


def numbered(number: int, width: int, height: int) -> RgbImage:
    """Return an image with a bar code in its upper half; the lower half is red."""
    bits = [1, 0, *(number >> bit & 1 for bit in range(BITS))]
    edges = np.linspace(0, width, len(bits) + 1).astype(int)
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :, :, 0] = 200
    for bit, left, right in zip(bits, edges[:-1], edges[1:], strict=True):
        image[: height // 2, left:right] = 235 * bit + 10
    return image


def number_in(image: RgbImage) -> int:
    """Read the number back from an upright image of any size."""
    height, width = image.shape[:2]
    lower = image[height * 5 // 8 : height * 7 // 8].reshape(-1, 3).mean(axis=0)
    assert lower[0] > max(100, *(lower[1:] + 60)), f"the lower half is not red but {lower}"
    edges = np.linspace(0, width, BITS + 3)
    row = image[height // 8 : height * 3 // 8].mean(axis=(0, 2))
    bits = [
        row[round(left + (right - left) / 4) : round(right - (right - left) / 4)].mean() > 128
        for left, right in itertools.pairwise(edges)
    ]
    assert bits[:2] == [True, False], "mirrored"
    return sum(1 << place for place, bit in enumerate(bits[2:]) if bit)


def make_video(
    path: Path,
    count: int = 50,
    *,
    size: tuple[int, int] = (320, 180),
    rate: int = 25,
    before: Sequence[str] = (),
    options: Sequence[str] = (),
    sound: bool = False,
) -> Path:
    """Make a video of numbered frames.

    Args:
        path: of the video; the suffix is its format.
        count: how many frames.
        size: width and height.
        rate: frames per second.
        before: options of ffmpeg for its input.
        options: for its output.
        sound: whether there is a tone as long as the video.
    """
    width, height = size
    raw = b"".join(numbered(number, width, height).tobytes() for number in range(count))
    tone = ["-f", "lavfi", "-i", f"sine=duration={count / rate}", "-c:a", "aac"] if sound else []
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)]
    ffmpeg(*source, *before, "-i", "-", *tone, *options, path, data=raw)
    return path


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> bytes:
    """Run ffmpeg; returns its standard output."""
    command = ["ffmpeg", "-v", "error", "-y", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


class Seen(NamedTuple):
    """A frame: the number that it shows, its time and its size."""

    number: int
    time: float
    size: tuple[int, int]


def frames_of(source: Path | str, options: VideoOptions = EVERY_FRAME) -> list[Seen]:
    """Return what the input yields for a video."""
    found = []
    opened = WithVideos(open_input([str(source)], InputOptions()), options)
    for item in opened:
        image = item.read()
        assert isinstance(item, FrameItem)
        assert not isinstance(image, bytes)
        found.append(Seen(number_in(image), item.details["time"], image.shape[1::-1]))
        item.done()
    opened.close()
    return found


def detect(*arguments: str | Path, models: Path) -> subprocess.CompletedProcess[str]:
    """Run ``yolo-service detect``."""
    return run("detect", *arguments, "--models-dir", models)
