"""The bounded queue between requests and networks.

Requests are greenlets on gevent's loop, which only moves bytes. Decoding, inference and writing
the answer happen here, on native threads::

    greenlet: run(job) ──submit──> queue ──take──> worker: decode, detect, finish
       ^                                              |
       └────────── loop.run_callback_threadsafe ──────┘

Nothing is monkey-patched: the queue is guarded by a native lock that is held for microseconds.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any, TypeVar

from yolo_service import metrics, process
from yolo_service.errors import Overloaded, ShuttingDown
from yolo_service.predictor.jobs import Batch, DecodeImage, Job

T = TypeVar("T")

GROUP = 6
"""Most images that a worker takes at once where nobody has set ``batch_size``.

Under load it decodes and resizes them one right after another, and then writes their answers, so
that code and data are still in the processor's cache; and the loop sends several answers in a row.
With Yolo-Fastest-XL that is a tenth more requests a second; larger groups gain nothing.
"""

GROUP_SECONDS = 0.07
"""How long they may take: those of a slow network gain nothing and would wait for each other."""


class Scheduler:
    """Workers behind a bounded queue.

    Args:
        decode: makes an image out of bytes, given the job's ``quality``; runs on the workers.
        workers: number of native threads.
        queue_size: jobs that may wait; workers' own are not counted.
        batch_size: most images in one call of a network; None: as many as are its worker's share
            of those that wait, but no more than ``GROUP``, and one where images take long.
        batch_wait: seconds that a worker waits for a batch of this size to fill.
    """

    def __init__(
        self,
        decode: DecodeImage,
        *,
        workers: int,
        queue_size: int,
        batch_size: int | None = None,
        batch_wait: float = 0.0,
    ) -> None:
        self._decode, self._queue_size = decode, queue_size
        self._batch_size = batch_size
        self._batch_wait = batch_wait if batch_size else 0.0
        self._jobs: deque[Job[Any]] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._since: dict[int, float] = {}
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
            self._jobs.append(job)
            # Someone who waits for a batch to fill may not want this job, so all have to look.
            self._changed.notify(len(self._workers) if self._batch_wait else 1)

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

    def _work(self) -> None:
        process.step_back()
        me = threading.get_ident()
        quick = 1
        while batch := self._take(quick):
            began = self._since[me] = time.monotonic()
            try:
                with metrics.WORKERS_BUSY.track_inprogress():
                    Batch(batch, self._decode).run()
            except Exception as error:
                for job in batch:
                    job.fail(error)
            finally:
                del self._since[me]
                quick = int(GROUP_SECONDS * len(batch) / (time.monotonic() - began))
                batch.clear()  # who rests keeps no image and no model in memory

    def _take(self, quick: int) -> list[Job[Any]]:
        """Wait for the next jobs; an empty list means the end.

        Args:
            quick: how many of them should not take longer than ``GROUP_SECONDS``.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return []
            free = len(self._workers) - len(self._since)  # this one included
            share = math.ceil(len(self._jobs) / free)
            batch = [self._jobs.popleft()]
            self._fill(batch, self._batch_size or min(share, quick, GROUP))
            return batch

    def _fill(self, batch: list[Job[Any]], size: int) -> None:
        until = time.monotonic() + self._batch_wait
        while len(batch) < size and not self._closed:
            if fitting := self._fitting(batch[0]):
                self._jobs.remove(fitting)
                batch.append(fitting)
            elif not self._changed.wait(until - time.monotonic()):
                break

    def _fitting(self, first: Job[Any]) -> Job[Any] | None:
        return next((job for job in self._jobs if job.batch_key == first.batch_key), None)
