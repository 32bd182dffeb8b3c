"""The rows of ``benchmarks.scale``: what they cost in this process, and through the service."""

from __future__ import annotations

import functools
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import click

from benchmarks.serving import Load, Server, free_port, middle, server_answers, serving
from darknet.decode import Decoder
from darknet.engines.graph import GraphEngine
from darknet.model import Thresholds
from darknet.network import load_model
from darknet.resize import resize_pixels_into
from yolo_service.formats import FORMATS
from yolo_service.images.decode import DecodeOptions, decode_image
from yolo_service.models.folder import ModelFiles
from yolo_service.models.opening import load_files
from yolo_service.predictor.answer import Answer, Timings
from yolo_service.settings import Settings

T = TypeVar("T")

STAGES = ("decode", "resize", "infer", "boxes", "json")
CLIENTS = 8
MAX_PIXELS = 50_000_000
"""As the service has it."""


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        seconds: for each row in each round, in this process and through the service.
        rounds: how often rows take turns.
        http: whether to ask the service, too.
    """

    seconds: float
    rounds: int
    http: bool


@dataclass(eq=False)
class Row:
    """An image given to a model, and what that costs.

    Attributes:
        label: what the row has.
        work: how much of it.
        files: the model.
        data: the image, a JPEG.
        times: milliseconds of processor time by stage, one value per round.
        load: what clients of the service see.
        cost: milliseconds of the service's processor time for each answer.
        memory: most that the service took above its rest, in MB for each worker.
    """

    label: str
    work: float
    files: ModelFiles
    data: bytes
    times: dict[str, list[float]] = field(default_factory=dict)
    load: Load | None = None
    cost: float = math.nan
    memory: float = math.nan

    def ms(self, stages: Sequence[str] = STAGES) -> float:
        """Return the time of some stages together."""
        return sum(median(self.times[stage]) for stage in stages)


def measure_stages(rows: Sequence[Row], settings: Settings, effort: Effort) -> None:
    """Fill ``times``; the rows take turns."""
    loaded = {row.files.name: _Loaded(row.files, settings) for row in rows}
    turns = [row for _ in range(effort.rounds) for row in rows]
    for row in progress(turns, "in this process"):
        stages = loaded[row.files.name].stages(row.data)
        for name, call in stages.items():
            value = _processor_ms(call, effort.seconds / len(stages))
            row.times.setdefault(name, []).append(value)


def measure_service(rows: Sequence[Row], settings: Settings, effort: Effort) -> None:
    """Fill ``load``, ``cost`` and ``memory`` of rows of one model.

    Memory is a high-water mark, so the rows have to come with the smallest images first.
    """
    with served(rows[0].files, settings, rows[0].data) as server:
        rest = server.memory()
        for row in progress(rows, f"service, {rows[0].files.name}"):
            server.image.write_bytes(row.data)
            seconds = max(effort.seconds, 60 * row.ms() / 1000)  # or too few answers would come
            row.load = middle([server.load(CLIENTS, seconds) for _ in range(effort.rounds)])
            row.cost = _cost(server)
            row.memory = (_peak(server) - rest) / settings.workers


@contextmanager
def served(files: ModelFiles, settings: Settings, data: bytes) -> Iterator[Server]:
    """Start the service with a model; ``Server.image`` may be overwritten by other images."""
    port = free_port()
    environment = {
        "YOLO_MODELS_DIR": str(files.cfg.parent.parent.resolve()),
        "YOLO_MODEL": files.name,
        "YOLO_PRECISION": settings.precision,
        "YOLO_WORKERS": str(settings.workers),
        "YOLO_PORT": str(port),
    }
    with tempfile.NamedTemporaryFile(suffix=".jpg") as image:
        path = Path(image.name)
        path.write_bytes(data)
        with serving([sys.executable, "app.py"], environment, path, port) as server:
            yield server


def progress(items: Sequence[T], label: str) -> Iterator[T]:
    """Show on a terminal how far a loop has come."""
    with click.progressbar(items, label=label, file=sys.stderr) as bar:
        yield from bar


class _Loaded:
    """A model whose stages can be called one by one.

    Raises:
        SystemExit: its engine computes several stages in one.
    """

    def __init__(self, files: ModelFiles, settings: Settings) -> None:
        self._network = load_files(files, settings)
        if not isinstance(self._network.engine, GraphEngine):
            raise SystemExit("stages are measured with openvino or onnxruntime; choose one")
        self._runner = self._network.engine.runner
        self._decoder = Decoder(load_model(**files.load_arguments()))

    def stages(self, data: bytes) -> dict[str, Callable[[], object]]:
        """Return what computes each stage, to be called by this thread."""
        quality = DecodeOptions.for_network(self._network)
        image = decode_image(data, quality, max_pixels=MAX_PIXELS).pixels
        height, width = image.shape[:2]
        resize = functools.partial(resize_pixels_into, image, resize=self._network.resize)
        resize(self._runner.input()[0])
        (heads,) = self._runner.infer(1)
        found = self._decoder.decode(heads, (height, width), Thresholds())
        about = ("", "", "", "")
        answer = Answer(*about, width, height, found, Timings(0, 0, 0, 0))
        return {
            "decode": lambda: decode_image(data, quality, max_pixels=MAX_PIXELS),
            "resize": lambda: resize(self._runner.input()[0]),
            "infer": lambda: self._runner.infer(1),
            "boxes": lambda: self._decoder.decode(heads, (height, width), Thresholds()),
            "json": lambda: FORMATS["darknet"].encode(answer),
        }


def _processor_ms(call: Callable[[], object], seconds: float) -> float:
    """Return the median of as many calls as fit, but three, after one that warms caches up."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        before = time.process_time()
        call()
        times.append((time.process_time() - before) * 1000)
    return median(times)


def _cost(server: Server, answers: int = 64) -> float:
    """Return the service's processor time for an answer in ms; every request is waited for."""
    before = _processor_seconds(server)
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(server_answers, [server] * answers))
    return (_processor_seconds(server) - before) / answers * 1000


def _processor_seconds(server: Server) -> float:
    """Return the processor time of all threads of a service since its start."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system


def _peak(server: Server) -> float:
    """Return the most memory that a service has ever had, in MB."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1000
