"""The predictor: submit an image, get a future of its detections.

::

    submit ──> JobQueue ──take──> worker thread: decode, detect, finish ──> future

HTTP waits for the future in a greenlet, the command line in its main thread. It uses no web
framework and no event loop.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, overload

from yolo_service import metrics
from yolo_service.errors import ModelUnavailable, ServiceError
from yolo_service.images.decode import PROCESSES, ImageDecoder
from yolo_service.models.loaded import LoadedModel
from yolo_service.models.opening import open_repository
from yolo_service.models.repository import ModelRepository
from yolo_service.predictor.answer import Answer
from yolo_service.predictor.decoding import IsolatedDecoding
from yolo_service.predictor.group import Group
from yolo_service.predictor.job import Image, Job, Options, Request
from yolo_service.predictor.queue import MAX_GROUP, JobQueue
from yolo_service.settings import Settings
from yolo_service.threads import join_all, lower_thread_priority, set_exception

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""How long leaving the ``with`` block of a predictor waits for workers that still compute."""


class Predictor:
    """Worker threads behind a bounded queue; models are loaded at their first use.

    Example::

        with open_predictor(load_settings()) as predictor:
            answer = predictor.submit(Path("photo.jpg").read_bytes()).result()
    """

    def __init__(self, models: ModelRepository, settings: Settings) -> None:
        self.models, self._settings = models, settings
        decoder = ImageDecoder(settings.max_pixels)
        self._decode_plain = decoder.decode_plain
        count, wait = settings.workers, settings.batch_wait_ms / 1000
        self.queue = JobQueue(
            settings.queue_size,
            count,
            max_wait=settings.queue_seconds,
            batch_size=settings.batch_size,
            batch_wait=wait,
        )
        self._isolated = IsolatedDecoding(
            decoder,
            max_bytes=3 * settings.max_pixels,
            max_waiting=settings.queue_size,
            queue=self.queue.put_back,
        )
        self._busy_since: dict[int, float] = {}
        metrics.watch_queue(self.queue.__len__, settings.queue_size, count)
        self._workers = [
            threading.Thread(target=self._work, name=f"worker-{i}", daemon=True)
            for i in range(count)
        ]
        for worker in self._workers:
            worker.start()

    @overload
    def submit(
        self, image: Image, options: Options = ..., *, finish: Callable[[Answer], T], **details: Any
    ) -> Future[T]: ...
    @overload
    def submit(self, image: Image, options: Options = ..., **details: Any) -> Future[Answer]: ...
    def submit(
        self,
        image: Image,
        options: Options = Options(),  # noqa: B008 - it is frozen
        *,
        finish: Callable[[Answer], Any] = lambda answer: answer,
        **details: Any,
    ) -> Future[Any]:
        """Queue an image; never waits.

        Cancelling the future frees the image at once; what a worker has begun is not interrupted.

        Args:
            image: see ``Image``.
            options: of the detection.
            finish: makes the result from the answer; runs on a worker.
            details: the attributes ``name``, ``fetch_ms``, ``deadline``, ``is_wanted`` of
                ``Request``.

        Returns:
            The future of the answer, or of the result of ``finish``. Its exception is a
            ServiceError: the model is unknown or cannot be loaded, the image cannot be decoded, the
            queue is full, the deadline has passed, there are too many tiles, or the predictor was
            closed.
        """
        request = Request(options, finish, **details)
        future: Future[Any] = Future()
        if error := options.too_many_tiles(self._settings.max_tiles):
            set_exception(future, error)
            return future
        start = functools.partial(self._start, image, request, future)
        model = self.models.loaded(options.model)
        if model is None or not start(model):  # it is not in memory, or no longer
            self.models.load(options.model).add_done_callback(
                functools.partial(_start_when_loaded, start, future)
            )
        return future

    @property
    def items_ahead(self) -> int:
        """How many images keep all workers busy, and fit into the queue."""
        return min(2 * MAX_GROUP * len(self._workers), self.queue.capacity)

    @property
    def is_idle(self) -> bool:
        """Whether no image waits or is computed."""
        return not (len(self.queue) or self._busy_since)

    @property
    def longest_run(self) -> float:
        """Longest time in seconds of a worker on its current group; 0 if all are idle."""
        now = time.monotonic()
        return max((now - since for since in list(self._busy_since.values())), default=0.0)

    def close(self, until: float) -> bool:
        """Fail queued and new images with ShuttingDown, and close all models.

        Waits until ``time.monotonic()`` is ``until``. Returns whether every worker has ended and
        every model is closed; else native code still computes, and leaving the interpreter in order
        may hang or crash.
        """
        self.queue.close()
        ended = join_all(self._workers, until)
        PROCESSES.close()
        return self.models.close(until) and ended

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(time.monotonic() + CLOSE_SECONDS)

    def _start(
        self, image: Image, request: Request, future: Future[Any], model: LoadedModel
    ) -> bool:
        """Queue a request for a loaded model; returns False if the model was just unloaded."""
        if not model.acquire():
            return False
        own = self._settings
        job = Job(image, request, future, model, decode=own.decode, max_tiles=own.max_tiles)
        try:
            self.queue.put(job)
        except ServiceError as error:
            job.fail(error)
        return True

    def _work(self) -> None:
        lower_thread_priority()
        me = threading.get_ident()
        while group := self.queue.take():
            self._busy_since[me] = time.monotonic()
            try:
                with metrics.WORKERS_BUSY.track_inprogress():
                    Group(group, self._decode_plain, self._isolated.submit).run()
            except Exception as error:
                for job in group:
                    job.fail(error)
            finally:
                del self._busy_since[me]
                self.queue.group_done(group)
                group.clear()  # so that an idle worker keeps no image and no model in memory


def open_predictor(settings: Settings) -> Predictor:
    """Make a predictor for the models that the settings name; none is loaded yet.

    Raises:
        ConfigurationError: there is no model to serve.
    """
    return Predictor(open_repository(settings), settings)


def _start_when_loaded(
    start: Callable[[LoadedModel], bool], future: Future[Any], loading: Future[LoadedModel]
) -> None:
    error = loading.exception()
    if error is None and not start(loading.result()):
        error = ModelUnavailable(f"model {loading.result().name} was unloaded; try again")
    if error is not None:
        set_exception(future, error)
