"""The service behind the handlers: the predictor, downloads, and threads for long documents."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import flask
import numpy as np
from prometheus_client import generate_latest

from yolo_service import metrics
from yolo_service.api.client import current_client
from yolo_service.api.waiting import wait
from yolo_service.errors import ModelNotFound, ModelUnavailable, ServiceError, Unavailable
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

T = TypeVar("T")

Fetch = Callable[[str], bytes]
"""Downloads an image for the request that is being handled, without blocking other greenlets."""


class Service:
    """The predictor, settings and downloads; while a method waits, other greenlets run.

    Args:
        settings: of the process.
        predictor: of all images.
        fetch: downloads an image URL.
    """

    def __init__(self, settings: Settings, predictor: Predictor, fetch: Fetch) -> None:
        self.settings, self.predictor = settings, predictor
        self._fetch = fetch
        self._started = False
        # One at a time, because a document in memory is many times its length.
        self._documents = DaemonExecutor("document", max_waiting=settings.queue_size)
        self._scrapes = DaemonExecutor("metrics", max_waiting=MAX_SCRAPES)

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

    @property
    def ready(self) -> bool:
        """Whether requests for the default model can be expected to succeed."""
        return self._obstacle() is None

    def check_ready(self) -> None:
        """Check ``ready``.

        Raises:
            Unavailable: it is not; the detail has the reason.
        """
        if obstacle := self._obstacle():
            raise Unavailable(obstacle)

    def models(self) -> list[ModelInfo]:
        """Describe every model.

        Raises:
            DeadlineExceeded: the models folder does not answer.
        """
        return wait(self.predictor.models.describe(), current_client().deadline)

    def usable_model(self, name: str) -> ModelInfo:
        """Describe a model that can be used.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its files are wrong.
        """
        models = {info.name: info for info in self.models()}
        if name not in models:
            raise ModelNotFound(f"no model {name[:100]!r}; there are: {', '.join(models)}")
        if error := models[name].error:
            raise ModelUnavailable(error)
        return models[name]

    def run_in_thread(self, function: Callable[[], T]) -> T:
        """Call a function that reads or writes a large document on a native thread.

        Raises:
            Overloaded: ``queue_size`` calls are waiting already.
            DeadlineExceeded: the request's own time is over.
        """
        return wait(self._documents.submit(function), current_client().deadline)

    def scrape(self) -> bytes:
        """Return the metrics in Prometheus's text format, written on a native thread.

        Raises:
            Overloaded: ``MAX_SCRAPES`` requests for the metrics are waiting already.
        """
        return wait(self._scrapes.submit(generate_latest), current_client().deadline)

    def fetch(self, url: str) -> bytes:
        """Download an image.

        Raises:
            FetchForbidden: the URL is not allowed.
            FetchFailed: there was no response, or not an image.
            DeadlineExceeded: the request's own time is over.
            Overloaded: too many host names are being looked up, or images fill the memory.
            ClientGone: the client closed its connection.
        """
        with metrics.FETCH_SECONDS.time():
            return self._fetch(url)

    def _obstacle(self) -> str | None:
        predictor, limit = self.predictor, self.settings.request_timeout
        if not self._started:
            return "the default model is not loaded yet; try again soon"
        if (seconds := predictor.longest_run) > limit:
            return f"a worker has been computing for {seconds:.0f} s; restart the service"
        model = predictor.models.loaded(None)
        if model and model.failing and not self._has_recovered():
            return f"model {model.name} fails with every image; see the log"
        return None

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
