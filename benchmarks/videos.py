"""``yolo-service detect`` on a video, in turns with frames that ffmpeg pipes into a predictor.

Usage: python -m benchmarks.videos MODELS_DIR MODEL [ROUNDS]

Makes twenty seconds of 1080p with sound by ffmpeg, which are decoded in turns by ``detect`` and by
``ffmpeg -f rawvideo -pix_fmt rgb24 -``, whose output this module reads and hands to the same
pipeline. ``frames/s`` counts from the first result to the last; ``ms`` is the processor time per
frame of all processes, with their start, which other load on the machine changes less. Then
``detect`` reads these seconds thirty times, ten minutes; ``MB`` is the largest resident memory of
its process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO

import numpy as np

from yolo_service import process
from yolo_service.inputs import Item
from yolo_service.outputs.lines import Stream
from yolo_service.outputs.rows import json_rows
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options, open_predictor
from yolo_service.settings import load_settings

WIDTH, HEIGHT, RATE = 1920, 1080, 30
SECONDS = 20


@dataclass(eq=False)
class RawItem(Item):
    """A frame of the pipe."""

    data: bytes = b""

    def read(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return its pixels, without a copy."""
        return np.frombuffer(self.data, np.uint8).reshape(HEIGHT, WIDTH, 3)


@dataclass
class RawInput:
    """An ``Input``: frames on a pipe."""

    pipe: IO[bytes]

    def __iter__(self) -> Iterator[Item]:
        number = 0
        while data := self.pipe.read(HEIGHT * WIDTH * 3):
            yield RawItem(f"{number:06}", "pipe", details={"frame": number}, data=data)
            number += 1

    def count(self) -> int | None:
        """Return None."""
        return None

    def stop(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def from_pipe(models: str, model: str) -> None:
    """Detect in the frames on standard input: what is compared with."""
    process.tune()
    settings = load_settings(models_dir=Path(models), model=model, queue_seconds=float("inf"))
    with open_predictor(settings) as predictor:
        predictor.models.get()
        output = Stream(json_rows("objects"))
        Pipeline(RawInput(sys.stdin.buffer), predictor, output, Options()).run()


@dataclass
class Result:
    """Frames per second, frames, megabytes of the process, and seconds of processor time."""

    rate: float
    frames: int
    megabytes: float
    seconds: float

    @property
    def milliseconds(self) -> float:
        """Processor time per frame."""
        return 1000 * self.seconds / self.frames


def main(models: str, model: str, rounds: int = 3) -> None:
    """Print the median of each figure."""
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        _make(short, long)
        pairs = [
            (_detect(models, model, short), _piped(models, model, short)) for _ in range(rounds)
        ]
        whole = _detect(models, model, long)
    own, pipe = median(own.rate for own, _ in pairs), median(piped.rate for _, piped in pairs)
    share = median(own.rate / piped.rate for own, piped in pairs)
    print(f"{model}, {WIDTH} x {HEIGHT}, {pairs[0][0].frames} frames, {rounds} rounds in turns")
    own_ms = median(own.milliseconds for own, _ in pairs)
    pipe_ms = median(piped.milliseconds for _, piped in pairs)
    print(f"detect       {own:7.1f} frames/s, {own_ms:5.1f} ms, {share:.2f} times the pipe")
    print(f"ffmpeg piped {pipe:7.1f} frames/s, {pipe_ms:5.1f} ms")
    print(
        f"ten minutes  {whole.rate:7.1f} frames/s, {whole.frames} frames, {whole.megabytes:.0f} MB"
    )


def _make(short: Path, long: Path) -> None:
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}:duration={SECONDS}"
    tone = ["-f", "lavfi", "-i", f"sine=duration={SECONDS}"]
    codec = ["-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    _ffmpeg("-f", "lavfi", "-i", source, *tone, *codec, short)
    _ffmpeg("-stream_loop", str(600 // SECONDS - 1), "-i", short, "-c", "copy", long)


def _ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


def _detect(models: str, model: str, video: Path) -> Result:
    command = [sys.executable, "-m", "yolo_service.cli.main", "detect", str(video)]
    options = ["--models-dir", models, "--model", model]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        return _result(running)


def _piped(models: str, model: str, video: Path) -> Result:
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    reader = f"from benchmarks.videos import from_pipe; from_pipe({models!r}, {model!r})"
    with (
        subprocess.Popen(
            ["ffmpeg", "-v", "error", "-i", video, *raw], stdout=subprocess.PIPE
        ) as ffmpeg,
        subprocess.Popen(
            [sys.executable, "-c", reader], stdin=ffmpeg.stdout, stdout=subprocess.PIPE
        ) as running,
    ):
        assert ffmpeg.stdout
        ffmpeg.stdout.close()
        found = _result(running)
        return replace(found, seconds=found.seconds + _wait(ffmpeg)[0])


def _result(running: subprocess.Popen[bytes]) -> Result:
    assert running.stdout
    times = [time.monotonic() for _ in running.stdout]
    seconds, megabytes = _wait(running)
    return Result((len(times) - 1) / (times[-1] - times[0]), len(times), megabytes, seconds)


def _wait(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Return the processor time and the largest memory of a process when it has ended."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
