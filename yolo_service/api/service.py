"""The service behind the handlers: the predictor, downloads, and threads for long documents."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import flask
import numpy as np
from prometheus_client import generate_latest

from yolo_service.api.client import current_client
from yolo_service.api.waiting import wait
from yolo_service.errors import ModelNotFound, ModelUnavailable, ServiceError, Unavailable
from yolo_service.models.export import Exports, version_of
from yolo_service.models.info import ModelInfo
from yolo_service.models.loaded import LoadedModel
from yolo_service.predictor import Predictor
from yolo_service.settings import Settings
from yolo_service.threads import DaemonExecutor

EXTENSION = "yolo_service"

PROBE_SECONDS = 1.0
"""How long the image may take that tests whether a failing model works again."""

MAX_SCRAPES = 8
"""Requests for the metrics that may wait; Prometheus sends one at a time."""

MAX_EXPORTS = 8
"""Requests for a model's file that may wait for its export, which takes seconds for a large one."""

T = TypeVar("T")

Fetch = Callable[[str], bytes]
"""Downloads an image for the request that is being handled, without blocking other greenlets."""


class Service:
    """The settings, the predictor and downloads; while a method waits, other greenlets run."""

    def __init__(self, settings: Settings, predictor: Predictor, fetch: Fetch) -> None:
        self.settings, self.predictor, self.fetch = settings, predictor, fetch
        self._started = False
        # One at a time, because a document in memory is many times its length.
        self._documents = DaemonExecutor("document", max_waiting=settings.queue_size)
        self._scrapes = DaemonExecutor("metrics", max_waiting=MAX_SCRAPES)
        self._exports = Exports()
        self._exporting = DaemonExecutor("export", max_waiting=MAX_EXPORTS)

    def start(self) -> LoadedModel:
        """Load the default model.

        Raises:
            ModelUnavailable: its files are wrong, or the engine refuses them.
        """
        model = wait(self.predictor.models.load(None))
        self._started = True
        if (seconds := self.settings.model_idle_timeout) is not None:
            self.predictor.models.unload_idle_regularly(seconds)
        return model

    def check_ready(self) -> None:
        """Check whether requests for the default model can be expected to succeed.

        Raises:
            Unavailable: they cannot; the detail has the reason.
        """
        if not self._started:
            raise Unavailable("the default model is not loaded yet; try again soon")
        if (seconds := self.predictor.longest_run) > self.settings.request_timeout:
            why = f"a worker has been computing for {seconds:.0f} s"
            raise Unavailable(f"{why}; restart the service")
        model = self.predictor.models.loaded(None)
        if model is None and (error := self.predictor.models.load_error):
            raise Unavailable(error)
        if model and model.failing and not self._has_recovered():
            raise Unavailable(f"model {model.name} fails with every image; see the log")

    def models(self) -> list[ModelInfo]:
        """Describe every model.

        Raises:
            DeadlineExceeded: the models folder does not answer.
        """
        return wait(self.predictor.models.describe(), current_client().deadline)

    def model(self, name: str) -> ModelInfo:
        """Describe a model, with its error if it has one.

        Raises:
            ModelNotFound: no such model.
        """
        models = {info.name: info for info in self.models()}
        if name not in models:
            raise ModelNotFound(f"no model {name[:100]!r}; there are: {', '.join(models)}")
        return models[name]

    def usable_model(self, name: str) -> ModelInfo:
        """Describe a model that can be used.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its files are wrong.
        """
        info = self.model(name)
        if info.error:
            raise ModelUnavailable(info.error)
        return info

    def run_in_thread(self, function: Callable[[], T]) -> T:
        """Call a function that reads or writes a large document on a native thread.

        Raises:
            Overloaded: ``queue_size`` calls are waiting already.
            DeadlineExceeded: the request's own time is over.
        """
        return wait(self._documents.submit(function), current_client().deadline)

    def export_version(self, name: str) -> str:
        """Return the version of a model's ONNX file, without making it.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its files are wrong.
        """
        return self.run_in_thread(lambda: version_of(self.predictor.models.files(name)))

    def export(self, name: str, version: str) -> Path:
        """Return a model as an ONNX file; see ``Exports.get``.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: it cannot be exported.
            Overloaded: ``MAX_EXPORTS`` calls are waiting already.
        """

        def export() -> Path:
            return self._exports.get(self.predictor.models.files(name), version)

        return wait(self._exporting.submit(export), current_client().deadline)

    def scrape(self) -> bytes:
        """Return the metrics in Prometheus's text format, written on a native thread.

        Raises:
            Overloaded: ``MAX_SCRAPES`` requests for the metrics are waiting already.
        """
        return wait(self._scrapes.submit(generate_latest), current_client().deadline)

    def _has_recovered(self) -> bool:
        """Detect in an image, because a service that is not ready gets no requests."""
        image = np.zeros((64, 64, 3), np.uint8)
        try:
            wait(self.predictor.submit(image), time.monotonic() + PROBE_SECONDS)
        except ServiceError:
            return False
        return True


def current() -> Service:
    """Return the service of the request that is being handled."""
    service: Service = flask.current_app.extensions[EXTENSION]
    return service
