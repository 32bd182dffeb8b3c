"""What is in this image?"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flask
from flask import Response
from werkzeug.datastructures import FileStorage

from yolo_service import service
from yolo_service.errors import BadRequest
from yolo_service.formats import FORMATS, Answer, Timings
from yolo_service.repository import LoadedModel
from yolo_service.scheduler import Job, Outcome
from yolo_service.wsgi import CONNECTED

Source = Callable[[float], bytes]
"""Gives the bytes of the picture, given the request's deadline."""


@dataclass(frozen=True)
class Options:
    """What a request may choose; None stands for the model's own value."""

    model: str | None = None
    threshold: float | None = None
    nms: float | None = None
    hier_threshold: float | None = None
    format: str = "darknet"


def by_url(
    *,
    url: str,
    model: str | None = None,
    threshold: float | None = None,
    nms: float | None = None,
    hier_threshold: float | None = None,
    format_: str = "darknet",
) -> Response:
    """Detect objects in an image that is downloaded."""
    options = Options(model, threshold, nms, hier_threshold, format_)
    return _detect(functools.partial(service.current().fetch, url), options)


def by_upload(image_file: FileStorage, body: dict[str, Any]) -> Response:
    """Detect objects in an image that is sent along."""
    data = image_file.read()
    if not data:
        raise BadRequest("image_file: the file is empty; choose an image")
    return _detect(lambda _: data, Options(**body))


def _detect(source: Source, options: Options) -> Response:
    current = service.current()
    deadline = current.deadline()
    model = current.model(options.model, deadline)
    thresholds = model.options.thresholds(options.threshold, options.nms, options.hier_threshold)
    before = time.monotonic()
    data = source(deadline)
    fetch_ms = (time.monotonic() - before) * 1000
    finish = functools.partial(_encoded, model, options.format, fetch_ms)
    connected = flask.request.environ[CONNECTED]
    job = Job(model, data, thresholds, finish, deadline=deadline, connected=connected)
    return Response(current.scheduler.run(job), mimetype="application/json")


def _encoded(model: LoadedModel, name: str, fetch_ms: float, outcome: Outcome) -> bytes:
    """Write the answer; on a worker, because thousands of detections take their time."""
    network = model.network
    height, width = outcome.image.shape[:2]
    timings = Timings(fetch_ms, outcome.decode_ms, outcome.queue_ms, outcome.inference_ms)
    answer = Answer(
        model.name,
        network.engine_name,
        network.device,
        network.precision,
        width,
        height,
        outcome.detections,
        timings,
    )
    return json.dumps(FORMATS[name](answer), ensure_ascii=False).encode() + b"\n"
