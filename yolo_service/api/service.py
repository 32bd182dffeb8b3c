"""What the handlers work with: models, workers, downloads and the clock of a request."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import TypeVar

import flask
import gevent
import numpy as np
from gevent.threadpool import ThreadPool

from darknet.model import Thresholds
from yolo_service import metrics, process
from yolo_service.errors import (
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    ServiceError,
    Unavailable,
)
from yolo_service.http.fetch import FetchPolicy, fetch
from yolo_service.http.server import HOLD, WHILE_CONNECTED
from yolo_service.http.streams import Budget
from yolo_service.images.decode import decode_image
from yolo_service.models.loaded import LoadedModel
from yolo_service.models.repository import ModelInfo, open_repository
from yolo_service.predictor.jobs import Job
from yolo_service.predictor.scheduler import Scheduler
from yolo_service.settings import Settings

log = logging.getLogger(__name__)

EXTENSION = "yolo_service"

BODIES_BYTES = 256_000_000
"""What uploads and downloads may take of the memory together; twice the largest one at least."""
PROBE_SECONDS = 1.0
"""How long an image may take that shows whether a model works again."""

T = TypeVar("T")


class Service:
    """Everything behind the routes; methods are called by greenlets and let the loop go on.

    Args:
        settings: of the process.

    Raises:
        ConfigurationError: there is no model to serve.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.budget = Budget(max(BODIES_BYTES, 2 * settings.max_upload_bytes))
        self._started = False
        self.repository = open_repository(settings)
        self.scheduler = Scheduler(
            functools.partial(decode_image, max_pixels=settings.max_pixels),
            workers=settings.workers,
            queue_size=settings.queue_size,
            batch_size=settings.batch_size,
            batch_wait=settings.batch_wait_ms / 1000,
        )
        self._policy = FetchPolicy(
            allow_networks=settings.url_allow_networks,
            max_bytes=settings.max_upload_bytes,
            total_timeout=settings.url_timeout,
        )
        # One at a time: loading takes much memory, and two requests shall not load twice.
        self._loader = ThreadPool(1)
        self._reader = ThreadPool(1)
        # One at a time, because a document in memory is many times its length.
        self._computer = ThreadPool(1)
        self._computing = 0

    def start(self) -> LoadedModel:
        """Load the default model.

        Raises:
            ModelUnavailable: its files are wrong, or the engine refuses them.
        """
        model = _in_thread(self._loader, functools.partial(self._load, None))
        self._started = True
        if self.settings.model_idle_timeout is not None:
            gevent.spawn(self._unload_idle_models, self.settings.model_idle_timeout)
        return model

    def _unload_idle_models(self, seconds: float) -> None:
        """Look again and again, often enough to be late by a tenth."""
        while True:
            gevent.sleep(seconds / 10)
            if _in_thread(self._loader, lambda: self.repository.unload_idle(seconds)):
                process.give_back_memory()

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

    def _obstacle(self) -> str | None:
        model, limit = self.repository.loaded(None), self.settings.request_timeout
        if not self._started:
            return "the default model is not loaded yet; try again soon"
        if (seconds := self.scheduler.longest_run()) > limit:
            return f"a worker has been computing for {seconds:.0f} s; restart the service"
        if model and model.failing and not self._has_recovered(model):
            return f"model {model.name} fails with every image; the log says why"
        return None

    def _has_recovered(self, model: LoadedModel) -> bool:
        """Try an image: without requests, which nobody sends to what is not ready, none else is.

        Its success or failure is also what ``model.failing`` tells from then on.
        """
        deadline = min(time.monotonic() + PROBE_SECONDS, self.deadline())
        image = np.zeros((64, 64, 3), np.uint8)
        try:
            self.scheduler.run(Job(model, image, Thresholds(), bool, deadline=deadline))
        except ServiceError:
            return False
        return True

    def deadline(self) -> float:
        """Return the ``time.monotonic()`` at which a request that begins now is given up."""
        return time.monotonic() + self.settings.request_timeout

    def model(self, name: str | None, deadline: float) -> LoadedModel:
        """Return a model (None: the default), loading it at its first use.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its files are wrong, or the engine refuses them.
            DeadlineExceeded: loading took too long; it goes on for those who come later.
        """
        if loaded := self.repository.loaded(name):
            return loaded
        with _until(deadline):
            return _in_thread(self._loader, functools.partial(self._load, name))

    def _load(self, name: str | None) -> LoadedModel:
        process.step_back()  # before the engine starts its threads
        return self.repository.get(name)

    def models(self) -> list[ModelInfo]:
        """Describe every model.

        Raises:
            DeadlineExceeded: the models folder does not answer.
        """
        with _until(self.deadline()):
            return _in_thread(self._reader, self.repository.describe)

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

    def compute(self, function: Callable[[], T], deadline: float) -> T:
        """Call a function that takes its time in a native thread.

        Raises:
            Overloaded: as many others wait as may wait for a worker.
            DeadlineExceeded: the request's own time is over.
        """
        if self._computing >= self.settings.queue_size:
            raise Overloaded(f"{self._computing} requests are waiting already; try again soon")
        self._computing += 1
        try:
            with _until(deadline):
                return _in_thread(self._computer, function)
        finally:
            self._computing -= 1

    def fetch(self, url: str, deadline: float) -> bytes:
        """Download an image.

        Raises:
            FetchForbidden: the URL is one that this service does not fetch.
            FetchFailed: it did not answer, or not with an image.
            DeadlineExceeded: the request's own time is over.
            Overloaded: the images being served fill the memory.
            ClientGone: nobody waits for it any more.
        """
        request = flask.request.environ
        with _until(deadline), request[WHILE_CONNECTED](), metrics.FETCH_SECONDS.time():
            return fetch(url, policy=self._policy, received=request[HOLD])

    def close(self) -> None:
        """End the workers, and give the models' memory back unless one still computes."""
        self._started = False
        if self.scheduler.close():
            self.repository.close()


def current() -> Service:
    """Return the service of the request that is being handled."""
    service: Service = flask.current_app.extensions[EXTENSION]
    return service


def _until(deadline: float) -> gevent.Timeout:
    late = DeadlineExceeded("the request could not be served within YOLO_REQUEST_TIMEOUT")
    return gevent.Timeout(max(0.001, deadline - time.monotonic()), late)


def _in_thread(pool: ThreadPool, function: Callable[[], T]) -> T:
    """Call a function in a native thread; its errors are raised here, and printed nowhere."""

    def caught() -> tuple[T | None, Exception | None]:
        try:
            return function(), None
        except Exception as error:
            return None, error

    value, error = pool.apply(caught)
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]  # gevent has no types
