"""How long a replica takes for groups of images, and what HTTP adds; for ``benchmarks.replicas``.

Usage: python -m benchmarks.service_times MODELS_DIR MODEL [--cpus N] [--cfg FILE] [--image FILE]
       [--seconds S] [--save FILE]

Groups are computed by the predictor's own ``Group`` on as many threads as workers are busy, for
each size that the service makes. Then the service answers wrk, which needs to be installed, and the
time of its event loop is read from /proc. With --cpus both have only so many cores. --cfg writes
random weights for a .cfg to MODELS_DIR/MODEL first; they take as long as trained ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.quiet import own_seconds, quietest
from benchmarks.scale_models import write_random
from benchmarks.scale_rows import progress
from benchmarks.serving import Server, free_port, serving
from tests.support.attacks import Cost
from yolo_service import process
from yolo_service.formats import FORMATS
from yolo_service.images.decode import ImageDecoder
from yolo_service.models.folder import ModelOptions
from yolo_service.models.loaded import LoadedModel
from yolo_service.models.opening import open_repository
from yolo_service.predictor.group import Group
from yolo_service.predictor.job import Job, Options, Request
from yolo_service.predictor.queue import MAX_GROUP
from yolo_service.settings import Settings, load_settings
from yolo_service.threads import join_all

CLIENTS = 8
QUANTILES = 50
PAUSE_SECONDS = 0.02
"""Between two groups, for ``after_pause``; longer pauses hardly make a difference."""


@dataclass(frozen=True)
class ServiceTimes:
    """The times of one replica.

    Attributes:
        model: its name.
        cpus: cores that the replica has.
        group_ms: median milliseconds of a group, from the first image to the last answer, by
            the number of busy workers and by the number of images, each less one.
        spread: times as parts of the median of their group, equally probable.
        after_pause: how many times longer a group takes that begins while nothing else is computed,
            because threads have to wake up, and code and data have left the caches.
        request_ms: processor time of the service for a request, without that of groups.
        loop_ms: the part of it on the thread of the event loop.
        http_ms: what a single client waits longer than the group takes, ``request_ms`` included.
        memory_mb: of the process under load.
        start_seconds: from the start of the process to its first answer.
        others: most cores that other programs took in any part of the measurement.
    """

    model: str
    cpus: int
    group_ms: list[list[float]]
    spread: list[float]
    after_pause: float = 1.0
    request_ms: float = 0.0
    loop_ms: float = 0.0
    http_ms: float = 0.0
    memory_mb: float = 0.0
    start_seconds: float = 0.0
    others: float = 0.0


def read_times(path: Path) -> ServiceTimes:
    """Read what ``main`` has saved."""
    return ServiceTimes(**json.loads(path.read_text()))


def measure(settings: Settings, image: Path, cpus: int, seconds: float) -> ServiceTimes:
    """Measure a replica with so many cores of this machine; needs it otherwise idle.

    Args:
        settings: of the replica; as many workers as they say.
        image: what all requests upload.
        cpus: the first so many that this process may use.
        seconds: for every size of a group and number of busy workers.
    """
    all_cpus = os.sched_getaffinity(0)
    own = sorted(all_cpus)[:cpus]
    os.sched_setaffinity(0, own)  # threads that start now have no other cores
    try:
        samples, paused, cost, disturbed = _groups(settings, image.read_bytes(), seconds)
    finally:
        os.sched_setaffinity(0, all_cpus)
    group_ms = [[round(1000 * median(cell), 4) for cell in row] for row in samples]
    http = _through_http(settings, image, own, 2 * seconds)
    return ServiceTimes(
        model=settings.model or "",
        cpus=cpus,
        group_ms=group_ms,
        spread=_spread(samples),
        after_pause=round(max(1.0, median(paused) / median(samples[0][0])), 3),
        request_ms=round(max(0.0, http.cost_ms - 1000 * cost), 4),
        loop_ms=round(http.loop_ms, 4),
        http_ms=round(http.p50 - 1000 * median(samples[0][0]), 4),
        memory_mb=http.memory_mb,
        start_seconds=http.start_seconds,
        others=round(max(disturbed, http.others), 3),
    )


Samples = list[list[list[float]]]
"""Seconds of groups, by the number of busy workers and of images, each less one."""


def _groups(
    settings: Settings, data: bytes, seconds: float
) -> tuple[Samples, list[float], float, float]:
    """Return times of groups, those after pauses, and the processor time of an image.

    The last value is the most cores that other programs took.
    """
    process.tune()
    models = open_repository(settings)
    model = models.get(settings.model)
    cells = [(busy, size) for busy in range(1, settings.workers + 1) for size in _SIZES]
    found: Samples = [[] for _ in range(settings.workers)]
    disturbed = 0.0
    for busy, size in progress(cells, f"{model.name}, groups"):
        make = partial(_group, settings, model, data, size)
        times, others = quietest(partial(_busy, make, busy, seconds))
        found[busy - 1].append(times)
        disturbed = max(disturbed, others)
    alone = partial(_group, settings, model, data, 1)
    paused, others = quietest(partial(_busy, alone, 1, 4 * seconds, PAUSE_SECONDS))
    cost = _image_seconds(partial(_group, settings, model, data, 2), settings.workers, 4 * seconds)
    models.close(time.monotonic() + 5)
    return found, paused, cost, max(disturbed, others)


def _image_seconds(make: partial[Group], workers: int, seconds: float) -> float:
    """Return the processor time of an image while all workers compute groups of two."""
    before = time.process_time()
    groups = len(_busy(make, workers, seconds)) + 2 * workers  # it leaves out two of each
    return (time.process_time() - before) / (2 * groups)


_SIZES = range(1, MAX_GROUP + 1)


def _group(settings: Settings, model: LoadedModel, data: bytes, size: int) -> Group:
    """Return so many jobs with the same image."""
    request = Request(Options(), FORMATS["objects"].encode)
    jobs = []
    for _ in range(size):
        assert model.acquire()
        future: Future[bytes] = Future()
        jobs.append(Job(data, request, future, model, decode=settings.decode, max_tiles=1))
    decoder = ImageDecoder(settings.max_pixels)
    return Group(jobs, decoder.decode_plain, lambda job: job.fail(ValueError("not a plain image")))


def _busy(make: partial[Group], workers: int, seconds: float, pause: float = 0.0) -> list[float]:
    """Return the seconds of groups while so many workers compute one after the other.

    Args:
        make: makes a group.
        workers: threads.
        seconds: how long.
        pause: seconds between two groups of a worker.
    """
    times: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        own: list[float] = []
        while time.perf_counter() < end or len(own) < 5:
            group = make()
            before = time.perf_counter()
            group.run()
            own.append(time.perf_counter() - before)
            time.sleep(pause)
        times.extend(own[1:-1])  # the first fills caches, the last may be alone

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    join_all(threads, time.monotonic() + 60 + seconds)
    return times


def _spread(samples: Samples) -> list[float]:
    """Return quantiles of all times, as parts of the median of their cell."""
    parts = np.concatenate([np.array(cell) / median(cell) for row in samples for cell in row])
    quantiles = np.quantile(parts, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    return [round(float(part), 4) for part in quantiles]


@dataclass(frozen=True)
class _Http:
    p50: float
    cost_ms: float
    loop_ms: float
    memory_mb: float
    start_seconds: float
    others: float


def _through_http(settings: Settings, image: Path, cpus: list[int], seconds: float) -> _Http:
    """Measure the service in a process of its own with the given cores."""
    port, began = free_port(), time.monotonic()
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cpus)), sys.executable, "app.py"]
    with serving(pinned, replica_environment(settings, port), image, port) as server:
        start = time.monotonic() - began
        service = Cost(server.pid)

        def own() -> float:
            return own_seconds() + service.seconds

        def costs() -> tuple[float, float]:
            loop, whole = _loop_seconds(server), service.seconds
            requests = server.load(CLIENTS, seconds).rate * max(1, round(seconds))
            return (service.seconds - whole) / requests, (_loop_seconds(server) - loop) / requests

        costs()  # warms up
        p50, first = quietest(lambda: server.load(1, seconds).p50, own)
        (cost, loop), second = quietest(costs, own)
        memory = round(server.memory())
    return _Http(p50, 1000 * cost, 1000 * loop, memory, round(start, 2), max(first, second))


def replica_environment(settings: Settings, port: int) -> dict[str, str]:
    """Return the variables of a replica."""
    return {
        "YOLO_MODELS_DIR": str(settings.models_dir.resolve()),
        "YOLO_MODEL": settings.model or "",
        "YOLO_PRECISION": settings.precision,
        "YOLO_WORKERS": str(settings.workers),
        "YOLO_PORT": str(port),
    }


def _loop_seconds(server: Server) -> float:
    """Return the processor time of the thread that runs the event loop, which is the first."""
    fields = Path(f"/proc/{server.pid}/task/{server.pid}/stat").read_text().rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print, or save, as JSON."""
    options = _options()
    if options.cfg:
        write_random(options.models_dir / options.model, options.cfg, ModelOptions(threshold=0.9))
    cpus = options.cpus or len(os.sched_getaffinity(0))
    settings = load_settings(models_dir=options.models_dir, model=options.model, workers=cpus + 1)
    times = measure(settings, options.image, cpus, options.seconds)
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in asdict(times).items())
    text = "{\n " + ",\n ".join(lines) + "\n}\n"
    (options.save.write_text(text) if options.save else print(text, end=""))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("model")
    parser.add_argument("--cpus", type=int)
    parser.add_argument("--cfg", type=Path)
    parser.add_argument("--image", type=Path, default=Path("/usr/share/darknet/data/dog.jpg"))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--save", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
