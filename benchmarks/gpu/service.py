"""Parts ``library`` and ``http``: images per second from JPEGs, through all of this project."""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu.models import BenchModel
from benchmarks.gpu.plan import JPEGS, PRECISIONS, Plan, progress
from benchmarks.gpu.results import Row
from benchmarks.gpu.timing import time_calls
from benchmarks.scale_models import smears
from benchmarks.serving import Server, free_port, serving
from darknet.errors import DarknetError
from darknet.limits import available_cpus
from yolo_service.errors import ServiceError
from yolo_service.models.folder import ModelFiles
from yolo_service.predictor import Predictor, open_predictor
from yolo_service.settings import load_settings
from yolo_service.threads import submit_each

CLIENTS = (1, 8, 32, 64)
BATCH = 8
"""The largest batch of the engine on a GPU."""


def measure_library(plan: Plan) -> None:
    """Fill in rows for numbers of workers.

    Raises:
        SystemExit: nothing could be measured.
    """
    cpus = available_cpus()
    workers = sorted({1, cpus, cpus + 1, 2 * cpus})
    for model, precision in progress(_tasks(plan), "library"):
        with _written(model) as files:
            for count in workers:
                settings = _settings(plan, precision) | {"workers": count}
                plan.results.put(_library_row(model, files, settings, plan.seconds))
    plan.results.check_measured("library", "Predictor")


def measure_http(plan: Plan) -> None:
    """Fill in rows for numbers of clients.

    Raises:
        SystemExit: wrk is missing, or nothing could be measured.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("bench-gpu: the part http needs wrk: apt-get install wrk")
    for model, precision in progress(_tasks(plan), "http"):
        for row in _http_rows(model, precision, plan):
            plan.results.put(row)
    plan.results.check_measured("http", "HTTP")


def _http_rows(model: BenchModel, precision: str, plan: Plan) -> Iterator[Row]:
    about = ("http", model.name, "HTTP", _type(precision, plan))
    try:
        with _written(model) as files, _served(files, _settings(plan, precision)) as server:
            for clients in CLIENTS:
                load = server.load(clients, plan.seconds)
                figures = {"rate": load.rate, "p50": load.p50, "p99": load.p99}
                note = f"{load.failed} requests failed" if load.failed else ""
                yield Row(*about, clients, figures, note)
    except RuntimeError as error:
        yield Row(*about, 0, note=f"{error}; the part engines says why")


def _tasks(plan: Plan) -> list[tuple[BenchModel, str]]:
    precisions = PRECISIONS if plan.on_gpu else PRECISIONS[:1]
    return list(itertools.product(plan.models(), precisions))


def _type(precision: str, plan: Plan) -> str:
    return "fp16" if precision == "fast" and plan.on_gpu else "fp32"


def _settings(plan: Plan, precision: str) -> dict[str, Any]:
    device = plan.devices[0]
    return {"engine": "onnxruntime", "device": device, "precision": precision, "batch_size": BATCH}


@contextmanager
def _written(model: BenchModel) -> Iterator[ModelFiles]:
    with tempfile.TemporaryDirectory() as folder:
        yield model.write(Path(folder))


def _library_row(
    model: BenchModel, files: ModelFiles, options: dict[str, Any], seconds: float
) -> Row:
    folder = files.cfg.parent.parent
    settings = load_settings(
        models_dir=folder, model=files.name, queue_size=4096, queue_seconds=600, **options
    )
    half = options["precision"] == "fast" and options["device"] != "cpu"
    about = ("library", model.name, "Predictor", "fp16" if half else "fp32", options["workers"])
    try:
        with open_predictor(settings) as predictor:
            figures = _answers(predictor, smears(*JPEGS[0]), seconds)
    except (DarknetError, ServiceError) as error:
        return Row(*about, note=str(error))
    return Row(*about, figures)


def _answers(predictor: Predictor, data: bytes, seconds: float) -> dict[str, float]:
    """Return the times of images one by one, and the rate with a queue that is kept filled."""
    alone = time_calls(lambda: predictor.submit(data).result(), seconds, 1)
    start = time.perf_counter()

    def images() -> Iterator[bytes]:
        while time.perf_counter() < start + seconds:
            yield data

    count = 0
    for future in submit_each(images(), predictor.submit, predictor.items_ahead):
        future.result()
        count += 1
    return alone | {"rate": count / (time.perf_counter() - start)}


@contextmanager
def _served(files: ModelFiles, settings: dict[str, Any]) -> Iterator[Server]:
    port = free_port()
    environment = {f"YOLO_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {
        "YOLO_MODELS_DIR": str(files.cfg.parent.parent),
        "YOLO_MODEL": files.name,
        "YOLO_PORT": str(port),
    }
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        image = Path(file.name)
        image.write_bytes(smears(*JPEGS[0]))
        with serving([sys.executable, "app.py"], environment, image, port) as server:
            yield server
