"""Accuracy, speed and memory of one model at several input sizes.

Usage: python -m benchmarks.sizes FOLDER DATA [--sizes 160 224 ...] [--plot FOLDER]

FOLDER is a model's, DATA labelled images as for ``yolo-service evaluate``. Each size is measured in
a process of its own: ``MB`` is what loading and computing add to its resident memory. The rates are
of several callers on decoded images, as many as the service has workers; all sizes take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from benchmarks.memory import resident
from darknet.cfg import InputSize
from darknet.network import Network
from darknet.training.evaluate import evaluate
from darknet.training.readers import read_dataset
from yolo_service import process
from yolo_service.benchmark import benchmark_image, throughput
from yolo_service.models.folder import read_folder
from yolo_service.models.opening import load_files
from yolo_service.settings import load_settings

ROUNDS, SECONDS = 5, 2.0


@dataclass(frozen=True)
class SizeRow:
    """The figures at one size: average precisions in percent, images per second, MB."""

    side: int
    map50: float
    map: float
    small: float
    rate: float
    megabytes: float


def main() -> None:
    """Print a row for each size."""
    options = _options()
    apart: Callable[..., ProcessPoolExecutor] = partial(
        ProcessPoolExecutor, 1, mp_context=get_context("spawn")
    )
    accuracies = {}
    for side in options.sizes:
        with apart() as executor:
            work = executor.submit(accuracy_and_memory, options.folder, options.data, side)
            accuracies[side] = work.result()
    speeds = _rates(options.folder, options.image, options.sizes)
    rows = [
        SizeRow(side, map50, map_, small, speeds[side], megabytes)
        for side, (map50, map_, small, megabytes) in accuracies.items()
    ]
    print("| input | mAP@0.5 | mAP@0.5:0.95 | of small objects | images/s | MB |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.side} x {row.side} | {row.map50:.1f} | {row.map:.1f} | {row.small:.1f} | "
            f"{row.rate:.0f} | {row.megabytes:.0f} |"
        )
    if options.plot:
        from benchmarks.plots import plot_sizes

        plot_sizes(options.plot, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 224, 320, 416, 512, 640])
    parser.add_argument("--image", type=Path, default=Path("/usr/share/darknet/data/dog.jpg"))
    parser.add_argument("--plot", type=Path, help="folder for sizes.svg")
    return parser.parse_args()


def _load(folder: Path, size: InputSize, streams: int) -> Network:
    return load_files(read_folder(folder).at_size(size), load_settings(), streams)


def accuracy_and_memory(folder: Path, data: Path, side: int) -> tuple[float, float, float, float]:
    """Return mAP@0.5, mAP and that of small objects in percent, and the MB of the network."""
    process.tune()
    files = read_folder(folder)
    dataset = read_dataset(data, files.read_names())
    image = benchmark_image(None)
    before = resident()
    with _load(folder, (side, side), load_settings().workers) as network:
        throughput(lambda: network.detect([image]), SECONDS, load_settings().workers)
        added = resident() - before
        metrics = evaluate(network, dataset).metrics
    return 100 * metrics.map50, 100 * metrics.map, 100 * metrics.by_area[0], added


def _rates(folder: Path, image: Path, sides: list[int]) -> dict[int, float]:
    """Return images per second at each size: medians of rounds in which the sizes take turns."""
    workers = load_settings().workers
    pixels = benchmark_image(image)
    networks = {side: _load(folder, (side, side), workers) for side in sides}
    rates: dict[int, list[float]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, network in networks.items():
            detect = partial(network.detect, [pixels])
            rates[side].append(throughput(detect, SECONDS, workers))
    return {side: median(each) for side, each in rates.items()}


if __name__ == "__main__":
    main()
