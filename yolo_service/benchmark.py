"""Benchmark of every engine and precision of this machine on one image.

``raw`` is one call of the runtime alone on a ready tensor, ``detect`` the whole of
``Network.detect`` on a decoded image (resize, inference, decoding of boxes, NMS), both by one
caller, in turns; ``images/s`` is ``detect`` from several threads at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from darknet import DarknetError, Network
from darknet.engines.graph import GraphEngine
from darknet.model import EngineName, Precision, RgbImage

Load = Callable[[EngineName, Precision, int], Network]
"""Loads the model to measure, given engine, precision and number of parallel streams."""


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds, throughput in images per second."""

    engine: str
    device: str
    precision: str
    load_ms: float
    raw_ms: float | None
    detect_ms: float
    p99_ms: float
    images_per_second: float


@dataclass(frozen=True)
class Failure:
    """An engine that is missing on this machine or refuses the model."""

    engine: str
    reason: str


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Measures every engine.

    Attributes:
        load: loads the model.
        image: uint8[height, width, 3 or 4], RGB; detected in again and again.
        seconds: how long each figure is measured.
        threads: callers at once for the throughput.
    """

    load: Load
    image: RgbImage
    seconds: float
    threads: int

    def rows(self) -> Iterator[Row | Failure]:
        """Measure every engine; ``fast`` only where it is another number type than ``fp32``.

        Only OpenVINO computes in ``int8``.
        """
        for engine in sorted(set(get_args(EngineName)) - {"auto"}):
            seen: set[str] = set()
            for precision in get_args(Precision):
                if precision == "int8" and engine != "openvino":
                    continue
                try:
                    row = self.measure(engine, precision)
                except DarknetError as error:
                    yield Failure(f"{engine} {precision}", str(error))
                    continue
                if row.precision not in seen:
                    yield row
                seen.add(row.precision)

    def measure(self, engine: EngineName, precision: Precision) -> Row:
        """Load one engine twice, for latency and for throughput, and time it.

        Raises:
            DarknetError: the engine is missing or refuses the model.
        """
        start = time.perf_counter()
        with self.load(engine, precision, 1) as network:
            load_ms = (time.perf_counter() - start) * 1e3
            calls = [lambda: network.detect([self.image]), *_raw(network)]
            detect, *raw = _in_turns(calls, self.seconds)
            found = (network.engine_name, network.device, network.precision)
        with self.load(engine, precision, self.threads) as network:
            rate = throughput(lambda: network.detect([self.image]), self.seconds, self.threads)
        p50, p99 = np.percentile(detect, (50, 99))
        raw_ms = float(np.median(raw)) if raw else None
        return Row(*found, load_ms, raw_ms, float(p50), float(p99), rate)


def table(rows: Iterable[Row | Failure]) -> Iterator[str]:
    """Yield a line for each row as it is measured, then lines that compare them with libdarknet."""
    yield (
        f"{'engine':<12} {'device':<8} {'type':<5} {'load ms':>8} {'raw ms':>9} {'detect ms':>10} "
        f"{'p99 ms':>9} {'detect/raw':>10} {'images/s':>9}"
    )
    done: list[Row] = []
    for row in rows:
        if isinstance(row, Failure):
            yield f"{row.engine}: not measured: {row.reason}"
            continue
        done.append(row)
        raw = f"{row.raw_ms:9.2f}" if row.raw_ms else f"{'-':>9}"
        ratio = f"{row.detect_ms / row.raw_ms:10.2f}" if row.raw_ms else f"{'-':>10}"
        yield (
            f"{row.engine:<12} {row.device:<8} {row.precision:<5} {row.load_ms:8.0f} {raw} "
            f"{row.detect_ms:10.2f} {row.p99_ms:9.2f} {ratio} {row.images_per_second:9.1f}"
        )
    yield from _against_darknet(done)


def benchmark_image(path: Path | None) -> RgbImage:
    """Return the image of a file as the service decodes it, or smooth random shapes (RGBA)."""
    if path is not None:
        from yolo_service.images.decode import DecodeOptions, decode_image

        return decode_image(
            path.read_bytes(), DecodeOptions(keep_image=False), max_pixels=100_000_000
        ).pixels
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (18, 24, 3), np.uint8)
    shapes = cv2.resize(noise, (768, 576), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(shapes, cv2.COLOR_RGB2RGBA), np.uint8)


def _raw(network: Network) -> list[Callable[[], object]]:
    """Return a call of the runtime alone on the last image; libdarknet has none without resize."""
    engine = network.engine
    return [lambda: engine.runner.infer(1)] if isinstance(engine, GraphEngine) else []


def _against_darknet(rows: list[Row]) -> Iterator[str]:
    reference = next((row for row in rows if row.engine == "libdarknet"), None)
    for row in rows:
        if reference and row is not reference:
            yield (
                f"{row.engine} {row.precision}: {reference.detect_ms / row.detect_ms:.1f} times "
                f"as fast as libdarknet for one image, "
                f"{row.images_per_second / reference.images_per_second:.1f} times in throughput"
            )


def _in_turns(calls: Sequence[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Return milliseconds of each call; they take turns, so that other load slows down all."""
    turns = 10 if len(calls) > 1 else 1
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(turns):
        for call, mine in zip(calls, times, strict=True):
            mine.extend(_times(call, seconds / turns))
    return times


def _times(call: Callable[[], object], seconds: float) -> list[float]:
    """Return milliseconds of each call, after three calls that fill the caches."""
    times: list[float] = []
    for _ in range(3):
        call()
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def throughput(call: Callable[[], object], seconds: float, threads: int) -> float:
    """Return calls per second of all threads together."""
    call()
    start = time.perf_counter()

    def work(_: int) -> int:
        count = 0
        while time.perf_counter() < start + seconds:
            call()
            count += 1
        return count

    with ThreadPoolExecutor(threads) as executor:
        count = sum(executor.map(work, range(threads)))
    return count / (time.perf_counter() - start)
