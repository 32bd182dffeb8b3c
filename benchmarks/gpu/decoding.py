"""Part ``decode``: how many JPEGs a second the processor decodes and resizes, and a GPU decodes.

This part needs no GPU: the rates of the processor say how many cores a card of a given rate needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.gpu.plan import JPEGS, Plan, progress
from benchmarks.gpu.results import Row
from benchmarks.gpu.timing import time_calls
from benchmarks.scale_models import smears
from darknet.limits import available_cpus
from darknet.resize import resize_pixels_into
from yolo_service.benchmark import throughput
from yolo_service.images.decode import DecodeOptions, decode_image

SIDE = 416
"""Pixels of the network's input that images are resized to."""

ROUNDS = 3
"""The rows take turns, so that all meet the same neighbours on the machine; medians count."""

MAX_PIXELS = 50_000_000
OPTIONS = {
    "exact": DecodeOptions(keep_image=False),
    "fast": DecodeOptions(keep_image=False, smooth=False),
    "reduced": DecodeOptions(keep_image=False, smooth=False, min_size=(SIDE, SIDE)),
}
"""``YOLO_DECODE``."""

BATCH = 32
"""JPEGs that nvImageCodec gets at once."""


def measure_decoding(plan: Plan) -> None:
    """Fill in the rows of all image sizes, ways to decode, and numbers of threads."""
    cpus = available_cpus()
    threads = sorted({1, cpus, cpus + 1})
    tasks = list(itertools.product(JPEGS, OPTIONS, threads))
    rates: dict[tuple[object, ...], list[float]] = {task: [] for task in tasks}
    for task in progress(tasks * ROUNDS, "decode"):
        size, way, count = task
        call = partial(_decode_and_resize, smears(*size), OPTIONS[way])
        rates[task].append(throughput(call, plan.seconds / ROUNDS, count))
        figures = {"rate": median(rates[task])}
        plan.results.put(Row("decode", _label(size), f"simplejpeg, {way}", "", count, figures))
    for size in progress(JPEGS, "nvImageCodec"):
        for row in _on_the_card(size, plan):
            plan.results.put(row)


def _label(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _decode_and_resize(data: bytes, options: DecodeOptions) -> None:
    """Do all that comes before inference, into memory that is the call's own, as a worker's is."""
    out = np.empty((SIDE, SIDE, 3), np.float32)
    image = decode_image(data, options, max_pixels=MAX_PIXELS).pixels
    resize_pixels_into(image, out, "stretch", exact=options.smooth)


def _on_the_card(size: tuple[int, int], plan: Plan) -> Iterator[Row]:
    about = ("decode", _label(size))
    try:
        decoder = _nvimagecodec()
    except Exception as error:  # whatever the package raises without a GPU
        yield Row(*about, "nvImageCodec", count=BATCH, note=str(error))
        return
    files = [smears(*size)] * BATCH
    for way, call in _ways(decoder, files):
        figures = time_calls(call, plan.seconds, BATCH)
        yield Row(*about, f"nvImageCodec, {way}", count=BATCH, figures=figures)


def _nvimagecodec() -> Any:
    """Return a decoder of nvImageCodec, an optional package that is in no extra.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from nvidia import nvimgcodec  # type: ignore[import-not-found, unused-ignore] # optional
    except ImportError:
        raise ImportError("not installed; pip install 'nvidia-nvimgcodec-cu13[nvjpeg]'") from None
    return nvimgcodec.Decoder()


def _ways(decoder: Any, files: list[bytes]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield decoding alone, and with the copy to host memory that this project's resize needs."""
    first = decoder.decode(files[:1])[0]
    if first is None:
        raise SystemExit("bench-gpu: nvImageCodec does not decode the JPEGs of the benchmark")
    yield "images stay on the card", lambda: _finished(decoder, files)
    yield "copied to host memory", lambda: [np.asarray(x.cpu()) for x in decoder.decode(files)]


def _finished(decoder: Any, files: list[bytes]) -> object:
    """Decode, and wait for the last image by copying it: decoding may go on when it returns."""
    images = decoder.decode(files)
    return np.asarray(images[-1].cpu())
