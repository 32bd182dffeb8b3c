"""fp32, fast and int8 of one model in turns, so that all three meet the same neighbours.

Usage: python -m benchmarks.precisions FOLDER [--image FILE] [--rounds N] [--seconds S]
       python -m benchmarks.precisions --cfg FILE [--side PIXELS] ...

FOLDER is a model's, with the int8 version that ``yolo-service quantize`` made. With --cfg random
weights are quantised instead, which takes the same time to compute as trained ones. ``raw`` is the
runtime alone on a ready tensor, ``images/s`` the whole of ``Network.detect`` by three callers.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import get_args

from darknet.cfg import parse_cfg
from darknet.engines.graph import GraphEngine
from darknet.model import Precision, RgbImage
from darknet.network import Network
from darknet.quantization import quantize
from darknet.weights import write_weights
from tests.support.networks import random_weights
from yolo_service.benchmark import benchmark_image, throughput
from yolo_service.models.folder import ModelFiles, read_folder
from yolo_service.models.opening import load_files
from yolo_service.settings import load_settings

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CALLERS = 3


def main() -> None:
    """Print a row for each precision."""
    options = _options()
    image = benchmark_image(options.image)
    with tempfile.TemporaryDirectory() as folder:
        if options.cfg:
            _write_model(Path(folder), options.cfg, options.side, image)
        files = read_folder(Path(folder) if options.cfg else options.folder)
        raw = _raw(files, options.rounds)
        rates = _rates(files, image, options.seconds)
    print(f"{'type':<6}{'raw ms: least':>14}{'median':>9}{'images/s: most':>16}{'median':>9}")
    for kind, times in raw.items():
        rate = rates[kind]
        least, most = min(times), max(rate)
        print(f"{kind:<6}{least:14.2f}{median(times):9.2f}{most:16.1f}{median(rate):9.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path("models/blood-cells"))
    parser.add_argument("--cfg", type=Path)
    parser.add_argument("--side", type=int, default=416)
    parser.add_argument("--image", type=Path, default=Path("/usr/share/darknet/data/dog.jpg"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    return parser.parse_args()


def _write_model(folder: Path, cfg: Path, side: int, image: RgbImage) -> None:
    text = re.sub(r"^(width|height) *=.*", rf"\1={side}", cfg.read_text(), flags=re.MULTILINE)
    network = parse_cfg(text)
    copy, weights, names = (folder / f"model.{kind}" for kind in ("cfg", "weights", "names"))
    copy.write_text(text)
    write_weights(weights, network, random_weights(network))
    names.write_text("".join(f"{number}\n" for number in range(network.classes)))
    quantize(copy, weights, names, [image])


def _load(files: ModelFiles, streams: int) -> list[Network]:
    base = load_settings(engine="openvino")
    settings = [base.model_copy(update={"precision": precision}) for precision in PRECISIONS]
    return [load_files(files, each, streams) for each in settings]


def _raw(files: ModelFiles, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of single calls; the one before each brings its network into the caches."""
    networks = _load(files, 1)
    times: dict[str, list[float]] = {network.precision: [] for network in networks}
    for _ in range(rounds):
        for network in networks:
            assert isinstance(network.engine, GraphEngine)
            runner = network.engine.runner
            runner.input()[0] = 0.5
            runner.infer(1)
            start = time.perf_counter()
            runner.infer(1)
            times[network.precision].append(1e3 * (time.perf_counter() - start))
    return times


def _rates(files: ModelFiles, image: RgbImage, seconds: float) -> dict[str, list[float]]:
    networks = _load(files, CALLERS)
    rates: dict[str, list[float]] = {network.precision: [] for network in networks}
    for _ in range(5):
        for network in networks:
            # Random weights find thousands of objects, which is not what is measured here.
            detect = partial(network.detect, [image], threshold=0.9)
            rates[network.precision].append(throughput(detect, seconds, CALLERS))
    return rates


if __name__ == "__main__":
    main()
