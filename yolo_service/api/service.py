"""What the handlers work with: the predictor, downloads, and threads for what takes long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import flask
import numpy as np

from yolo_service import metrics
from yolo_service.api.client import current_client
from yolo_service.api.waiting import wait
from yolo_service.errors import ModelNotFound, ServiceError, Unavailable
from yolo_service.models.info import ModelInfo
from yolo_service.models.loaded import LoadedModel
from yolo_service.predictor import Predictor
from yolo_service.settings import Settings
from yolo_service.threads import DaemonExecutor

EXTENSION = "yolo_service"

PROBE_SECONDS = 1.0
"""How long an image may take that shows whether a failing model works again."""

MAX_SCRAPES = 8
"""Requests for the metrics that may wait; Prometheus sends one at a time."""

T = TypeVar("T")

Fetch = Callable[[str], bytes]
"""Downloads an image for the request that is being handled; waits as a greenlet."""


class Service:
    """Everything behind the routes; the methods wait as greenlets.

    Args:
        settings: of the process.
        predictor: for every image.
        fetch: for image URLs.
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
        """See ``ready``.

        Raises:
            Unavailable: it is not; the detail says why.
        """
        if obstacle := self._obstacle():
            raise Unavailable(obstacle)

    def models(self) -> list[ModelInfo]:
        """Describe every model.

        Raises:
            DeadlineExceeded: the models folder does not answer.
        """
        return wait(self.predictor.models.describe(), current_client().deadline)

    def model_info(self, name: str) -> ModelInfo:
        """Describe one model.

        Raises:
            ModelNotFound: no such model.
        """
        models = self.models()
        for info in models:
            if info.name == name:
                return info
        known = ", ".join(info.name for info in models)
        raise ModelNotFound(f"no model {name[:100]!r}; there are: {known}")

    def run_in_thread(self, function: Callable[[], T]) -> T:
        """Call a function that reads or writes a large document on a native thread.

        Raises:
            Overloaded: as many others wait as may wait for a worker.
            DeadlineExceeded: the request's own time is over.
        """
        return wait(self._documents.submit(function), current_client().deadline)

    def scrape(self, function: Callable[[], bytes]) -> bytes:
        """Call the function that writes the metrics on a native thread.

        Raises:
            Overloaded: others wait for the metrics already.
        """
        return wait(self._scrapes.submit(function), current_client().deadline)

    def fetch(self, url: str) -> bytes:
        """Download an image.

        Raises:
            FetchForbidden: the URL is one that this service does not fetch.
            FetchFailed: it did not answer, or not with an image.
            DeadlineExceeded: the request's own time is over.
            Overloaded: too many host names are being looked up, or images fill the memory.
            ClientGone: nobody waits for it any more.
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
            return f"model {model.name} fails with every image; the log says why"
        return None

    def _has_recovered(self) -> bool:
        """Try an image, because nobody sends requests to a service that is not ready."""
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
