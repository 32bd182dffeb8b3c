"""``yolo-service detect`` on this machine with and without ``--cluster local``, in turns.

Usage: python -m benchmarks.cluster MODELS_DIR MODEL PHOTOS [--images 5000] [--rounds 3]
       [--precision fp32]

PHOTOS is a folder of images, which are copied until there are enough. ``images/s`` is the rate
after the start: from the end of a burst of results, when a tenth is done, to the last result.
``first`` is when the first result came, ``end`` what the command needs after the last one, and
``in all`` the time of the process.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.folder import copy_photos, detect_command, line_times, read_options

WAYS: dict[str, tuple[str, ...]] = {
    "detect": (),
    "detect --cluster local": ("--cluster", "local"),
}
BURST = 256
"""Results among which the longest pause is looked for: tasks answer 128 images at once."""


class Run(NamedTuple):
    """Images per second after the start, and seconds."""

    rate: float
    first: float
    end: float
    total: float


def main() -> None:
    """Print the medians of each way, and the ratio of the rates."""
    options = read_options(images=5000, rounds=3)
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "photos"
        copy_photos(options.photos, folder, options.images)
        for _ in range(options.rounds):
            for way, more in WAYS.items():
                runs[way].append(_run(options, folder, more))
    print(f"{options.images} photos, {options.rounds} rounds in turns")
    _print(runs)


def _run(options: argparse.Namespace, folder: Path, more: Sequence[str]) -> Run:
    times, total = line_times([*detect_command(options, folder), *more], options.images)
    tenth = options.images // 10
    begin = max(range(tenth, tenth + BURST), key=lambda i: times[i + 1] - times[i])
    rate = (options.images - 1 - begin) / (times[-1] - times[begin])
    return Run(rate, times[0], total - times[-1], total)


def _print(runs: dict[str, list[Run]]) -> None:
    plain = [run.rate for run in runs["detect"]]
    print("|  | images/s | of detect | first | end | in all |")
    print("|---|---|---|---|---|---|")
    for way, found in runs.items():
        rate, first, end, total = (median(values) for values in zip(*found, strict=True))
        share = median(run.rate / other for run, other in zip(found, plain, strict=True))
        seconds = f"{first:.1f} s | {end:.1f} s | {total:.1f} s"
        print(f"| `{way}` | {rate:.0f} | {share:.0%} | {seconds} |")


if __name__ == "__main__":
    main()
