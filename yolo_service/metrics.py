"""Metrics for Prometheus; docs/monitoring.md lists them.

Observations take microseconds and may be made in any thread. Every label has few values, whatever
clients send. Counters exist with the value 0 as soon as their labels are known, because Prometheus
sees no increase in a counter that appears with its first value.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from darknet.detections import Detections
from darknet.network import Network
from yolo_service.errors import ConfigurationError, ServiceError

# Without the gauge with the time of creation that every counter has.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds of the buckets of durations within a request."""
_Seconds = functools.partial(Histogram, buckets=SECONDS)
_LOAD_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES: Final = (1e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7)

MAX_CLASSES: Final = 100
"""Classes of a model that are counted by name; YOLO9000 alone has 9418."""
OTHER: Final = "other"
"""Label of the classes and HTTP methods that have no series of their own."""

ROUTE: Final = "yolo_service.route"
"""Name in the WSGI environment of the route of a request, as a pattern."""
NO_ROUTE: Final = "-"
"""Route of the requests that have none."""
_METHODS: Final = frozenset("DELETE GET HEAD OPTIONS PATCH POST PUT".split())

REQUESTS: Final = Counter(
    "yolo_http_requests",
    "Answered requests; route is the pattern of the address, or - if there is none.",
    ["method", "route", "status"],
)
REQUEST_SECONDS: Final = _Seconds(
    "yolo_http_request_duration_seconds",
    "From a request's headers to the end of its response.",
    ["route"],
)
ERRORS: Final = Counter(
    "yolo_errors",
    "Errors that were answered, by the type that problem documents have: overloaded, ...",
    ["type"],
)

FETCH_SECONDS: Final = _Seconds(
    "yolo_fetch_duration_seconds", "Download of an image URL, failed ones too."
)
QUEUE_SECONDS: Final = _Seconds("yolo_queue_duration_seconds", "Wait of an image for a worker.")
DECODE_SECONDS: Final = _Seconds("yolo_decode_duration_seconds", "From an encoded image to pixels.")
INFERENCE_SECONDS: Final = _Seconds(
    "yolo_inference_duration_seconds",
    "A call of the network, from pixels to detections, of a whole batch.",
    ["model"],
)
ENCODE_SECONDS: Final = _Seconds(
    "yolo_encode_duration_seconds", "Writing an answer, drawing of boxes included."
)

QUEUE_DEPTH: Final = Gauge("yolo_queue_depth", "Images that wait for a worker.")
QUEUE_CAPACITY: Final = Gauge("yolo_queue_capacity", "Images that may wait; more are refused.")
WORKERS: Final = Gauge("yolo_workers", "Native threads that decode and compute.")
WORKERS_BUSY: Final = Gauge("yolo_workers_busy", "Workers that have something to do.")

IMAGE_BYTES: Final = Histogram(
    "yolo_image_size_bytes", "Encoded images, uploaded or fetched.", buckets=_BYTES
)
DETECTIONS: Final = Counter(
    "yolo_detections",
    f"Objects found; of a model the first {MAX_CLASSES} classes by name, the rest as {OTHER}.",
    ["model", "class"],
)

INPUT_LOST: Final = Counter(
    "yolo_input_lost",
    "Images of a channel that were not begun: the buffer was full, or the run ended.",
)
INPUT_CONNECTIONS_LOST: Final = Counter(
    "yolo_input_connections_lost", "Breaks of the connection to a channel."
)

MODEL_LOADED: Final = Gauge(
    "yolo_model_loaded",
    "1 for every model in memory, and what computes it.",
    ["model", "engine", "device", "precision"],
)
MODEL_LOAD_SECONDS: Final = Histogram(
    "yolo_model_load_duration_seconds",
    "From a model's files to its first answer.",
    ["model"],
    buckets=_LOAD_SECONDS,
)
MODEL_LOAD_FAILURES: Final = Counter(
    "yolo_model_load_failures", "Models that could not be loaded.", ["model"]
)
MODEL_UNLOADS: Final = Counter(
    "yolo_model_unloads", "Models whose memory was given back.", ["model"]
)


@contextmanager
def served(host: str, port: int) -> Iterator[None]:
    """Answer scrapes at a port of its own, for programs that are no service.

    Raises:
        ConfigurationError: the port is not free.
    """
    try:
        server, thread = prometheus_client.start_http_server(port, host)
    except OSError as error:
        raise ConfigurationError(f"metrics: {host}:{port} cannot be used: {error}") from error
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def count_request(method: str, environ: Mapping[str, Any], status: int, seconds: float) -> None:
    """Count a response; the WSGI environment has ``ROUTE`` if the request has a route."""
    requests, duration = _of_route(
        method if method in _METHODS else OTHER, environ.get(ROUTE, NO_ROUTE), status
    )
    requests.inc()
    duration.observe(seconds)


@functools.cache  # as many as there are series; looking them up takes as long as counting
def _of_route(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(route)


def expect_requests(method: str, route: str, statuses: Iterable[int]) -> None:
    """Start the counters of a route at 0."""
    for status in statuses:
        _of_route(method, route, status)


def expect_model(model: str) -> None:
    """Start the counters of a model that can be loaded at 0."""
    for metric in (MODEL_LOAD_SECONDS, MODEL_LOAD_FAILURES, MODEL_UNLOADS, INFERENCE_SECONDS):
        metric.labels(model)


def _expect_errors(kind: type[ServiceError]) -> None:
    """Start the counters of a kind of errors and those below it at 0."""
    ERRORS.labels(kind.type)
    for below in kind.__subclasses__():
        _expect_errors(below)


_expect_errors(ServiceError)
for _method in ("GET", "POST", OTHER):
    expect_requests(_method, NO_ROUTE, (400, 404, 405, 408, 431, 500))


def watch_queue(depth: Callable[[], int], capacity: int, workers: int) -> None:
    """Set the gauges of a queue; its depth is read at each scrape."""
    QUEUE_DEPTH.set_function(depth)
    QUEUE_CAPACITY.set(capacity)
    WORKERS.set(workers)


def observe_image(size: int | None, queue_seconds: float, decode_seconds: float) -> None:
    """Observe an image that is ready for the network.

    Args:
        size: bytes of the encoded image; None if it came as pixels.
        queue_seconds: that it waited.
        decode_seconds: that decoding took.
    """
    QUEUE_SECONDS.observe(queue_seconds)
    if size is not None:
        DECODE_SECONDS.observe(decode_seconds)
        IMAGE_BYTES.observe(size)


_named: dict[str, set[str]] = {}
_naming = threading.Lock()


def observe_inference(model: str, found: Sequence[Detections], seconds: float) -> None:
    """Observe a call of the network; counts detections by class, within ``MAX_CLASSES``."""
    if found:
        INFERENCE_SECONDS.labels(model).observe(seconds)
    for detections in found:
        for number, count in Tally(detections.class_ids.tolist()).items():
            DETECTIONS.labels(model, _class_label(model, detections.names[number])).inc(count)


def _class_label(model: str, name: str) -> str:
    with _naming:
        named = _named.setdefault(model, set())
        if name in named:
            return name
        if len(named) == MAX_CLASSES:
            return OTHER
        named.add(name)
        return name


def model_loaded(model: str, network: Network) -> None:
    """Set the gauge of a model in memory; its detections are counted from 0 on."""
    MODEL_LOADED.labels(model, *_place(network)).set(1)
    if len(network.names) <= MAX_CLASSES:
        for name in network.names:
            DETECTIONS.labels(model, _class_label(model, name))


def model_unloaded(model: str, network: Network) -> None:
    """Remove the gauge of a model, and count that it was unloaded."""
    MODEL_UNLOADS.labels(model).inc()
    MODEL_LOADED.remove(model, *_place(network))


def _place(network: Network) -> tuple[str, str, str]:
    return network.engine_name, network.device, network.precision
