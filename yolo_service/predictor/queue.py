"""The bounded queue of jobs, from which workers take groups."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from yolo_service.errors import Overloaded, ShuttingDown
from yolo_service.predictor.job import Job

MAX_GROUP = 6
"""Most images that a worker takes at once where nobody has set ``batch_size``.

Decoding and resizing them one after another, and then writing their answers, keeps code and data in
the processor's cache: with Yolo-Fastest-XL a tenth more images per second; larger groups gain
nothing.
"""

MAX_GROUP_SECONDS = 0.07
"""How long a group may take; images of a slow network gain nothing in a group."""


class JobQueue:
    """Jobs that wait for a worker.

    Args:
        capacity: most jobs; those that a worker has taken are not counted.
        workers: how many share the jobs.
        max_wait: seconds; a job that would wait longer is refused.
        batch_size: most jobs of a group; None: a worker's share of those that wait, but at most
            ``MAX_GROUP``, and no more than the model computes in ``MAX_GROUP_SECONDS``.
        batch_wait: seconds to wait until a group of ``batch_size`` is full.
    """

    def __init__(
        self,
        capacity: int,
        workers: int,
        *,
        max_wait: float,
        batch_size: int | None,
        batch_wait: float,
    ) -> None:
        self.capacity, self._workers, self._max_wait = capacity, workers, max_wait
        self._work_seconds = 0.0
        self._heavy = 0
        self._batch_size, self._batch_wait = batch_size, batch_wait if batch_size else 0.0
        self._jobs: deque[Job] = deque()
        self._busy = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Append a job; never waits.

        Raises:
            Overloaded: the queue is full.
            ShuttingDown: it was closed.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDown()
            self.raise_if_full()
            self._jobs.append(job)
            self._added(job)

    def put_back(self, job: Job) -> None:
        """Insert a job that was taken before, at the front, even if the queue is full."""
        with self._changed:
            if not self._closed:
                self._jobs.appendleft(job)
                self._added(job)
                return
        job.fail(ShuttingDown())

    def raise_if_full(self) -> None:
        """Check whether a job could be appended now.

        Raises:
            Overloaded: the queue is full, or a job would wait longer than ``max_wait``.
        """
        if len(self._jobs) >= self.capacity:
            raise Overloaded(f"{self.capacity} images are waiting already; try again soon")
        if (seconds := self._work_seconds / self._workers) > self._max_wait:
            raise Overloaded(
                f"the images that are waiting take {seconds:.0f} s already; try again then",
                retry_after=math.ceil(seconds),
            )

    def take(self) -> list[Job]:
        """Wait for the next group; an empty list means that the queue was closed.

        The worker counts as busy until ``group_done``. One worker takes no heavy images: to draw on
        a large one or to compute many tiles takes seconds, for which others would wait.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._first() or self._closed)
            first = self._first()
            if first is None:
                return []
            share = math.ceil(len(self._jobs) / max(1, self._workers - self._busy))
            self._jobs.remove(first)
            self._heavy += first.is_heavy
            self._busy += 1
            group = [first]
            self._fill(group, self._batch_size or self._group_size(group[0], share))
            left = self._work_seconds - sum(job.expected_seconds for job in group)
            self._work_seconds = left if self._jobs else 0.0  # no error adds up
            return group

    def group_done(self, group: list[Job]) -> None:
        """Count the worker of a group as idle."""
        with self._changed:
            self._busy -= 1
            self._heavy -= group[0].is_heavy
            self._changed.notify()  # a heavy image may wait for this

    def close(self) -> None:
        """Fail all queued jobs, refuse new ones, and end the workers."""
        with self._changed:
            self._closed = True
            refused, self._jobs = self._jobs, deque()
            self._changed.notify_all()
        for job in refused:
            job.fail(ShuttingDown())

    def _added(self, job: Job) -> None:
        self._work_seconds += job.expected_seconds
        # A worker that waits for its group to fill may not take this job: wake all of them.
        self._changed.notify(self._workers if self._batch_wait else 1)

    def _first(self) -> Job | None:
        """Return the job that has waited longest, of those that may be computed now."""
        may_be_heavy = self._heavy < max(1, self._workers - 1)
        return next((job for job in self._jobs if may_be_heavy or not job.is_heavy), None)

    def _group_size(self, first: Job, share: int) -> int:
        max_by_latency = int(MAX_GROUP_SECONDS / first.model.seconds_per_image)
        return max(1, min(share, max_by_latency, MAX_GROUP))

    def _fill(self, group: list[Job], size: int) -> None:
        until = time.monotonic() + self._batch_wait
        while len(group) < size and not self._closed:
            key = group[0].group_key
            if fitting := next((job for job in self._jobs if job.group_key == key), None):
                self._jobs.remove(fitting)
                group.append(fitting)
            elif not self._changed.wait(until - time.monotonic()):
                break
