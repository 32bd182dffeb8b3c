"""``yolo-service detect`` on a folder of photos, the in-process ceiling and a plain loop, in turns.

Usage: python -m benchmarks.folder MODELS_DIR MODEL PHOTOS [--images 1000] [--rounds 5]
       [--precision fp32]

PHOTOS is a folder of images, which are copied until there are enough. The ceiling decodes them and
detects in them from memory, with the best number of threads. The plain loop is
``benchmarks/peers/plain_loop.py``: ``cv2.imread``, ONNX Runtime and OpenCV's NMS, the same model.
``images/s`` counts from the first line of output to the last, ``with start`` from the start of the
process: imports and loading the model are a constant of a second.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.ceiling import ceiling, decode_and_detect
from benchmarks.peer_model import write_peer_model
from yolo_service import process
from yolo_service.models.opening import default_files, load_files
from yolo_service.settings import Settings, load_settings

CEILING_SECONDS = 1.0
PEERS = Path(__file__).with_name("peers")


class Rate(NamedTuple):
    """Images per second, from the first to the last and with the start of the process."""

    running: float
    with_start: float


def main() -> None:
    """Print the medians of each."""
    options = read_options(images=1000, rounds=5)
    process.tune()
    settings = load_settings(
        models_dir=options.models_dir, model=options.model, precision=options.precision
    )
    with tempfile.TemporaryDirectory() as made:
        folder, peer = Path(made) / "photos", Path(made) / "peer"
        photos = copy_photos(options.photos, folder, options.images)
        write_peer_model(default_files(settings), peer)
        ways = {
            "detect": lambda: _detect(options, folder),
            "plain loop": lambda: _plain_loop(peer, folder, options.images),
        }
        ceilings, rates = _in_turns(settings, photos, ways, options.rounds)
    mean = sum(map(len, photos)) / len(photos)
    print(f"{options.images} photos of {mean / 1000:.0f} kB, {options.rounds} rounds in turns")
    _print(ceilings, rates)


def read_options(images: int, rounds: int) -> argparse.Namespace:
    """Read the arguments, with these numbers as defaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=images)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--precision", default="fp32")
    return parser.parse_args()


def detect_command(options: argparse.Namespace, folder: Path) -> list[str]:
    """Return the arguments of Python that detect in a folder, a line for each image."""
    command = ["-m", "yolo_service.cli.main", "detect", str(folder), "--model", options.model]
    return [*command, "--models-dir", str(options.models_dir), "--precision", options.precision]


def copy_photos(photos: Path, folder: Path, images: int) -> list[bytes]:
    """Copy photos until there are enough; return their contents."""
    folder.mkdir()
    found = sorted(path for path in photos.iterdir() if path.is_file())
    for number, photo in enumerate(itertools.islice(itertools.cycle(found), images)):
        (folder / f"{number:06}{photo.suffix}").write_bytes(photo.read_bytes())
    return [photo.read_bytes() for photo in found[:images]]


def _in_turns(
    settings: Settings,
    photos: Sequence[bytes],
    ways: Mapping[str, Callable[[], Rate]],
    rounds: int,
) -> tuple[list[float], dict[str, list[Rate]]]:
    """Return the ceiling of each round, and the rate of each way in it."""
    ceilings: list[float] = []
    rates: dict[str, list[Rate]] = {name: [] for name in ways}
    for _ in range(rounds):
        with load_files(default_files(settings), settings, settings.workers) as network:
            ceilings.append(ceiling(decode_and_detect(network, settings, *photos), CEILING_SECONDS))
        for name, way in ways.items():
            rates[name].append(way())
    return ceilings, rates


def _detect(options: argparse.Namespace, folder: Path) -> Rate:
    return _rate(detect_command(options, folder), options.images)


def _plain_loop(peer: Path, folder: Path, images: int) -> Rate:
    return _rate([str(PEERS / "plain_loop.py"), str(folder)], images, PEER_MODEL=str(peer))


def _rate(arguments: Sequence[str], images: int, **variables: str) -> Rate:
    times, seconds = line_times(arguments, images, **variables)
    return Rate((images - 1) / (times[-1] - times[0]), images / seconds)


def line_times(
    arguments: Sequence[str], images: int, **variables: str
) -> tuple[list[float], float]:
    """Run Python, which prints a line for each image; return when each came, and the seconds."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables},
    ) as running:
        assert running.stdout
        times = [time.monotonic() for _ in running.stdout]
    assert running.returncode == 0
    assert len(times) == images
    return [at - began for at in times], time.monotonic() - began


def _print(ceilings: Sequence[float], rates: Mapping[str, Sequence[Rate]]) -> None:
    """Print medians; ``of the ceiling`` and ``times the loop`` are those of the rounds' ratios."""
    loop = [rate.running for rate in rates["plain loop"]]
    print("|  | images/s | with start | of the ceiling | times the plain loop |")
    print("|---|---|---|---|---|")
    print(f"| ceiling | {median(ceilings):.0f} | | | {_ratio(ceilings, loop):.2f} |")
    for name, found in rates.items():
        running = [rate.running for rate in found]
        started = median(rate.with_start for rate in found)
        share, times = _ratio(running, ceilings), _ratio(running, loop)
        print(f"| {name} | {median(running):.0f} | {started:.0f} | {share:.0%} | {times:.2f} |")


def _ratio(values: Sequence[float], others: Sequence[float]) -> float:
    return median(value / other for value, other in zip(values, others, strict=True))


if __name__ == "__main__":
    main()
