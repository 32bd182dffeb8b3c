"""The bounded queue between requests and networks.

Requests are greenlets on gevent's loop, which only moves bytes. Decoding, inference and writing
the answer happen here, on native threads::

    greenlet: run(job) ──submit──> queue ──take──> worker: decode, detect, finish
       ^                                              |
       └─────────────────── outbox ───────────────────┘

Nothing is monkey-patched: the queue is guarded by a native lock that is held for microseconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import gevent
from gevent.event import AsyncResult

from darknet.detections import Detections
from darknet.engines.base import RgbImage, Thresholds
from yolo_service import metrics, process
from yolo_service.errors import ClientGone, DeadlineExceeded, Overloaded, ShuttingDown
from yolo_service.images import Decoded, Quality, whole
from yolo_service.outbox import Outbox

log = logging.getLogger(__name__)

T = TypeVar("T")

SEEN_SECONDS = 0.02
"""For how long a client that was there counts as there."""

SHOWN = Quality()
"""How a picture is decoded that people or other programs look at."""

Picture = bytes | RgbImage
"""A picture as a file of a known format, or decoded: uint8[height, width, 3], red first."""


class Detector(Protocol):
    """What a worker asks of a model; ``detect`` may be called from several threads at once."""

    def detect(self, images: Sequence[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find objects in pictures of any size, one ``Detections`` each, in order."""
        ...


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a worker found, and the time it took.

    Attributes:
        picture: the decoded picture.
        detections: what the network found in it, in pixels of ``picture.size``.
        queue_ms: milliseconds between ``submit`` and a worker's attention.
        decode_ms: milliseconds from bytes to picture.
        inference_ms: milliseconds in the network, of the whole batch.
    """

    picture: Decoded
    detections: Detections
    queue_ms: float
    decode_ms: float
    inference_ms: float


def _always() -> bool:
    return True


class Job(Generic[T]):
    """One picture on its way through a network.

    Args:
        model: finds the objects.
        data: the picture, encoded or not.
        thresholds: of this request.
        finish: makes the answer out of the outcome; runs on the worker.
        deadline: ``time.monotonic()`` after which nobody waits any more.
        connected: says whether the client is still there; called on the worker.
        quality: how the picture has to be decoded.
    """

    def __init__(
        self,
        model: Detector,
        data: Picture,
        thresholds: Thresholds,
        finish: Callable[[Outcome], T],
        *,
        deadline: float,
        connected: Callable[[], bool] = _always,
        quality: Quality = SHOWN,
    ) -> None:
        self.model, self.data, self.thresholds, self.finish = model, data, thresholds, finish
        self.quality = quality
        self.deadline = deadline
        self.submitted = time.monotonic()
        self._connected, self._seen = connected, 0.0
        self._abandoned = False
        self._answer: AsyncResult = AsyncResult()
        self._outbox: Outbox | None = None

    @property
    def batch_key(self) -> tuple[int, Thresholds]:
        """Jobs with equal keys can share a call of the network."""
        return id(self.model), self.thresholds

    def accept(self, outbox: Outbox) -> None:
        """Begin to count on an answer, which comes through an outbox."""
        self._outbox = outbox

    def wait(self) -> T:
        """Wait as a greenlet for the answer, not longer than the deadline.

        Raises:
            DeadlineExceeded: the time is over; the job will cost nothing any more.
            Exception: whatever the worker met.
        """
        try:
            answer: T = self._answer.get(timeout=max(0.0, self.deadline - time.monotonic()))
        except gevent.Timeout:
            raise _late() from None
        finally:
            self._abandoned = True
            self.data = b""  # the job itself may wait in the queue for long
        return answer

    def succeed(self, answer: T) -> None:
        """Hand the answer over, from any thread."""
        self._put(self._answer.set, answer)

    def fail(self, error: Exception) -> None:
        """Hand an error over, from any thread."""
        self._put(self._answer.set_exception, error)

    def _put(self, function: Callable[[Any], object], value: object) -> None:
        assert self._outbox is not None  # noqa: S101 - only what was accepted is worked on
        self._outbox.put(function, value)

    def is_worth_it(self) -> bool:
        """Say whether somebody still waits; tell the others why they get nothing."""
        if self._abandoned:
            return False
        if time.monotonic() >= self.deadline:
            self.fail(_late())
        elif not self._connected():
            self.fail(ClientGone())
        else:
            return True
        return False


class Scheduler:
    """Workers behind a bounded queue.

    Args:
        decode: makes a picture out of bytes, given the job's ``quality``; runs on the workers.
        workers: number of native threads.
        queue_size: jobs that may wait; workers' own are not counted.
        batch_size: most pictures in one call of a network.
        batch_wait: seconds that a worker waits for a batch to fill.
    """

    def __init__(
        self,
        decode: Callable[[bytes, Quality], Decoded],
        *,
        workers: int,
        queue_size: int,
        batch_size: int = 1,
        batch_wait: float = 0.0,
    ) -> None:
        self._decode, self._queue_size = decode, queue_size
        self._batch_size, self._batch_wait = batch_size, batch_wait
        self._jobs: deque[Job[Any]] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._since: dict[int, float] = {}
        self._outbox = Outbox(self._is_busy)
        metrics.watch_queue(lambda: len(self._jobs), queue_size, workers)
        self._workers = [
            threading.Thread(target=self._work, name=f"worker-{i}", daemon=True)
            for i in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    def run(self, job: Job[T]) -> T:
        """Submit a job and wait for it as a greenlet; see ``submit`` and ``Job.wait``."""
        self.submit(job)
        return job.wait()

    def submit(self, job: Job[Any]) -> None:
        """Queue a job; never waits.

        Raises:
            Overloaded: the queue is full.
            ShuttingDown: the service is stopping.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDown("the service is stopping; try another instance")
            self.check_room()
            job.accept(self._outbox)
            self._jobs.append(job)
            if self._is_busy():
                self._outbox.watch()
            # Someone who waits for a batch to fill may not want this job, so all have to look.
            self._changed.notify(1 if self._batch_size == 1 else len(self._workers))

    def check_room(self) -> None:
        """Look whether a job could be queued now.

        Raises:
            Overloaded: the queue is full.
        """
        if len(self._jobs) >= self._queue_size:
            raise Overloaded(f"{self._queue_size} requests are waiting already; try again soon")

    def longest_run(self) -> float:
        """Return the seconds for which the slowest worker has been at its batch; 0 if all rest."""
        now = time.monotonic()
        return max((now - since for since in list(self._since.values())), default=0.0)

    def close(self, timeout: float = 1.0) -> bool:
        """Refuse what waits and what comes, and end the workers.

        Args:
            timeout: seconds to wait for each worker that still computes.

        Returns:
            Whether all of them have ended.
        """
        with self._changed:
            self._closed = True
            refused, self._jobs = self._jobs, deque()
            self._changed.notify_all()
        for job in refused:
            job.fail(ShuttingDown("the service is stopping; try another instance"))
        for worker in self._workers:
            worker.join(timeout)
        return not any(worker.is_alive() for worker in self._workers)

    def _is_busy(self) -> bool:
        """Say whether jobs wait; one may just have come, to be taken in a moment."""
        return len(self._jobs) > 1

    def _work(self) -> None:
        process.step_back()
        me = threading.get_ident()
        while batch := self._take():
            self._since[me] = time.monotonic()
            try:
                with metrics.WORKERS_BUSY.track_inprogress():
                    self._run([job for job in batch if job.is_worth_it()])
            except Exception as error:
                for job in batch:
                    job.fail(error)
            finally:
                del self._since[me]
                batch.clear()  # who rests keeps no picture and no model in memory

    def _take(self) -> list[Job[Any]]:
        """Wait for the next jobs; an empty list means the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return []
            batch = [self._jobs.popleft()]
            until = time.monotonic() + self._batch_wait
            while len(batch) < self._batch_size and not self._closed:
                if fitting := self._fitting(batch[0]):
                    self._jobs.remove(fitting)
                    batch.append(fitting)
                elif not self._changed.wait(until - time.monotonic()):
                    break
            return batch

    def _fitting(self, first: Job[Any]) -> Job[Any] | None:
        return next((job for job in self._jobs if job.batch_key == first.batch_key), None)

    def _run(self, jobs: list[Job[Any]]) -> None:
        started = time.monotonic()
        decoded = [work for job in jobs if (work := self._decoded(job, started))]
        # Decoding takes time: who is late now shall not cost inference.
        decoded = [work for work in decoded if work.job.is_worth_it()]
        if not decoded:
            return
        before = time.monotonic()
        first = decoded[0].job
        found = first.model.detect([work.picture.pixels for work in decoded], first.thresholds)
        inference_ms = _ms_since(before)
        for work, detections in zip(decoded, found, strict=True):
            work.deliver(detections, inference_ms)

    def _decoded(self, job: Job[Any], started: float) -> _Decoded | None:
        before = time.monotonic()
        try:
            data = job.data
            picture = self._decode(data, job.quality) if isinstance(data, bytes) else whole(data)
        except Exception as error:
            job.fail(error)
            return None
        queue_ms, decode_ms = (started - job.submitted) * 1000, _ms_since(before)
        metrics.observe_picture(data, queue_ms / 1000, decode_ms / 1000)
        return _Decoded(job, picture, queue_ms, decode_ms)


@dataclass(frozen=True, eq=False)
class _Decoded:
    job: Job[Any]
    picture: Decoded
    queue_ms: float
    decode_ms: float

    def deliver(self, detections: Detections, inference_ms: float) -> None:
        found = detections.scaled(*self.picture.scale)
        outcome = Outcome(self.picture, found, self.queue_ms, self.decode_ms, inference_ms)
        try:
            with metrics.ENCODE_SECONDS.time():
                answer = self.job.finish(outcome)
            self.job.succeed(answer)
        except Exception as error:
            self.job.fail(error)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the request could not be served within YOLO_REQUEST_TIMEOUT")


def _ms_since(start: float) -> float:
    return (time.monotonic() - start) * 1000
