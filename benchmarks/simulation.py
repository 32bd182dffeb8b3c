"""Replicas of this service and a load balancer, simulated event by event.

What waits, what is refused and what is computed together is decided by the service's own
``JobQueue``, and the time of an image is averaged by its own ``LoadedModel``: only the clock, the
network and the machine are simulated. A worker that computes a group goes forward at the speed
that was measured with as many busy workers as there are at that moment, so a group becomes slower
when another worker begins and faster when one ends.

Not simulated: clients that leave, ``YOLO_REQUEST_TIMEOUT``, ``YOLO_BATCH_WAIT_MS``, tiles and
drawing, replicas that start or end.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from benchmarks.balancers import BALANCERS, Balancer, BalancerName
from benchmarks.service_times import ServiceTimes
from darknet.model import Thresholds
from yolo_service.errors import Overloaded
from yolo_service.models.loaded import LoadedModel
from yolo_service.predictor.job import Job
from yolo_service.predictor.queue import JobQueue
from yolo_service.settings import Settings

Seconds = npt.NDArray[np.float64]
_DEFAULTS = Settings.model_fields

BURST_FACTOR, BURST_PART, BURST_SECONDS = 3.0, 0.1, 1.0
"""Of bursts: their rate in average rates, their part of all time, and their average length."""


@dataclass(frozen=True)
class Service:
    """One replica.

    Attributes:
        times: measured; there are as many workers as they have rows.
        queue_size: see ``Settings``.
        queue_seconds: see ``Settings``.
        batch_size: see ``Settings``.
        neighbour_seconds: processor time of other programs on the replica's cores for each request,
            such as a client that measures.
    """

    times: ServiceTimes
    queue_size: int = _DEFAULTS["queue_size"].default
    queue_seconds: float = _DEFAULTS["queue_seconds"].default
    batch_size: int | None = None
    neighbour_seconds: float = 0.0

    def group_seconds(self) -> list[list[float]]:
        """Return the usual time of a group, by the number of busy workers and of images, less one.

        What a request takes besides is taken from the cores that the workers share.
        """
        besides = self.times.request_ms / 1000 + self.neighbour_seconds
        return [
            [
                ms / 1000 + images * besides * max(1.0, busy / self.times.cpus)
                for images, ms in enumerate(row, 1)
            ]
            for busy, row in enumerate(self.times.group_ms, 1)
        ]

    def capacity(self) -> float:
        """Return the images per second that one replica answers when it is asked for far more."""
        times = self.group_seconds()[-1]
        most = len(times) * len(self.times.group_ms) / times[-1]
        arrivals = np.arange(10_000) / (2 * most)
        ends = arrivals + simulate(arrivals, self, 1).seconds
        begin, end = arrivals[len(arrivals) // 2], arrivals[-1]
        return float(np.sum((begin < ends) & (ends <= end)) / (end - begin))


@dataclass(frozen=True, eq=False)
class Outcome:
    """How the requests went.

    Attributes:
        seconds: float64[requests], from arrival to answer; infinite for those answered 503.
        waits: float64[requests], from arrival until a worker begins, likewise; it is what
            ``yolo_queue_duration_seconds`` observes.
        replicas: int64[requests], where the balancer sent each.
        groups: images of every group that was computed.
        cores: that were computing on average until the last arrival, of all replicas together.
        workers: that were busy, likewise.
    """

    seconds: Seconds
    waits: Seconds
    replicas: npt.NDArray[np.int64]
    groups: list[int]
    cores: float
    workers: float

    def percentile(self, percent: float) -> float:
        """Return what so many percent of all requests stayed below, in seconds.

        A refused request counts as one that is never answered.
        """
        return percentile(self.seconds, percent)

    @property
    def lost(self) -> float:
        """The part of the requests that was answered 503."""
        return float(np.mean(~np.isfinite(self.seconds)))


def percentile(seconds: Seconds, percent: float) -> float:
    """Return what so many percent of the values stayed below."""
    ordered = np.sort(seconds)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))])


def poisson(rate: float, seconds: float, seed: int = 0) -> Seconds:
    """Return the times of arrivals that do not depend on each other, in seconds from 0."""
    random = np.random.default_rng(seed)
    count = random.poisson(rate * seconds)
    return np.sort(random.uniform(0, seconds, count))


def bursts(rate: float, seconds: float, seed: int = 0) -> Seconds:
    """Return Poisson arrivals whose rate alternates between calm and bursts.

    Both last for exponentially distributed times: a Markov-modulated Poisson process. The average
    rate is that of all time together, so a short run may have more or fewer.
    """
    random = np.random.default_rng(seed)
    calm_rate = rate * (1 - BURST_PART * BURST_FACTOR) / (1 - BURST_PART)
    calm_seconds = BURST_SECONDS * (1 - BURST_PART) / BURST_PART
    phases = itertools.cycle(((calm_rate, calm_seconds), (rate * BURST_FACTOR, BURST_SECONDS)))
    pieces, start = [np.empty(0)], 0.0
    while start < seconds:
        phase_rate, mean = next(phases)
        end = min(seconds, start + random.exponential(mean))
        pieces.append(
            np.sort(random.uniform(start, end, random.poisson(phase_rate * (end - start))))
        )
        start = end
    return np.concatenate(pieces)


def simulate(
    arrivals: Seconds,
    service: Service,
    replicas: int,
    balancer: BalancerName = "least outstanding",
    seed: int = 0,
) -> Outcome:
    """Send requests through a balancer to equal replicas until all are answered.

    Args:
        arrivals: float64[requests], rising, in seconds.
        service: every replica.
        replicas: how many.
        balancer: how it chooses.
        seed: of its choices and of the service times; the same one gives the same outcome.
    """
    random = np.random.default_rng(seed)
    chooser = BALANCERS[balancer](replicas, random)
    fleet = _Fleet([_Replica(service, random) for _ in range(replicas)], chooser, len(arrivals))
    chosen = np.zeros(len(arrivals), np.int64)
    for request, now in enumerate(arrivals.tolist()):
        fleet.run_until(now)
        chosen[request] = fleet.accept(now, request)
    span = float(arrivals[-1]) or 1.0
    cores = sum(replica.core_seconds for replica in fleet.replicas) / span
    workers = sum(replica.worker_seconds for replica in fleet.replicas) / span
    fleet.run_until(math.inf)
    http = max(0.0, service.times.http_ms - service.times.request_ms) / 1000
    groups = [size for replica in fleet.replicas for size in replica.groups]
    return Outcome(
        fleet.ends - arrivals + http, fleet.begins - arrivals, chosen, groups, cores, workers
    )


class _Fleet:
    """All replicas, and what will happen next in them.

    Attributes:
        replicas: all of them.
        begins: float64[requests], when a worker took each; infinite where none did.
        ends: float64[requests], when each was answered, likewise.
    """

    def __init__(self, replicas: list[_Replica], balancer: Balancer, requests: int) -> None:
        self.replicas, self._balancer = replicas, balancer
        self._events: list[tuple[float, int, int]] = []  # when, replica, its version at that time
        self.begins, self.ends = np.full(requests, np.inf), np.full(requests, np.inf)

    def run_until(self, limit: float) -> None:
        """End all groups that are done by then."""
        while self._events and self._events[0][0] <= limit:
            now, index, version = heapq.heappop(self._events)
            if version == self.replicas[index].version:  # else its speed has changed since
                self._end_group(now, index)

    def accept(self, now: float, request: int) -> int:
        """Send a request to a replica, and return which."""
        index = self._balancer.choose()
        replica = self.replicas[index]
        version = replica.version
        if not replica.accept(now, request):
            self._balancer.done(index)
        elif replica.version != version:
            self._schedule(index)
        return index

    def _end_group(self, now: float, index: int) -> None:
        group = self.replicas[index].end_group(now)
        for job in group.jobs:
            self.begins[job.number], self.ends[job.number] = group.began, now
            self._balancer.done(index)
        if self.replicas[index].is_busy:
            self._schedule(index)

    def _schedule(self, index: int) -> None:
        replica = self.replicas[index]
        heapq.heappush(self._events, (replica.next_end(), index, replica.version))


class _Model(LoadedModel):
    """A model without a network: the average of the time of an image."""

    def __init__(self) -> None:
        self.seconds_per_image = math.inf


class _Job(Job):
    """A request in a queue, without an image."""

    is_heavy = False
    thresholds: ClassVar[Thresholds] = Thresholds()  # type: ignore[misc]  # all jobs are alike

    def __init__(self, request: int, model: _Model) -> None:
        self.number, self.model = request, model
        measured = model.seconds_per_image
        self.expected_seconds = measured if math.isfinite(measured) else 0.0


class _Group:
    """Jobs on a worker.

    Attributes:
        jobs: at least one.
        began: when, in seconds.
        slowness: how many times as long as usual it takes.
        left: the part that is still to be done, from 1 to 0.
    """

    __slots__ = ("began", "jobs", "left", "slowness")

    def __init__(self, jobs: list[_Job], began: float, slowness: float) -> None:
        self.jobs, self.began, self.slowness, self.left = jobs, began, slowness, 1.0


class _Replica:
    """The queue and the workers of one process.

    Attributes:
        version: changes with the set of busy workers.
        groups: images of every group so far.
        core_seconds: that its cores have computed so far.
        worker_seconds: that its workers were busy so far.
    """

    def __init__(self, service: Service, random: np.random.Generator) -> None:
        self._seconds, self._random = service.group_seconds(), random
        self._spread: Sequence[float] = service.times.spread
        self._after_pause = service.times.after_pause
        self._workers = len(self._seconds)
        self._model = _Model()
        self._queue = JobQueue(
            service.queue_size,
            self._workers,
            max_wait=service.queue_seconds,
            batch_size=service.batch_size,
            batch_wait=0,
        )
        self._active: list[_Group] = []
        self._now = 0.0
        self._cores = service.times.cpus
        self.version = 0
        self.groups: list[int] = []
        self.core_seconds = self.worker_seconds = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether anything is computed."""
        return bool(self._active)

    def accept(self, now: float, request: int) -> bool:
        """Queue a request, and begin with it if a worker is idle; returns False for a 503."""
        try:
            self._queue.put(_Job(request, self._model))
        except Overloaded:
            return False
        self._begin(now)
        return True

    def next_end(self) -> float:
        """Return when the next group will be done if none begins before."""
        return self._now + min(map(self._seconds_left, self._active))

    def end_group(self, now: float) -> _Group:
        """Take the group that is done now."""
        group = min(self._active, key=self._seconds_left)
        self._advance(now)
        self._active.remove(group)
        self._model.observe(len(group.jobs), now - group.began)
        self._queue.group_done(list(group.jobs))
        self._begin(now)
        return group

    def _begin(self, now: float) -> None:
        while len(self._queue) and len(self._active) < self._workers:
            self._advance(now)
            jobs = [job for job in self._queue.take() if isinstance(job, _Job)]
            slowness = self._spread[int(self._random.random() * len(self._spread))]
            if not self._active:
                slowness *= self._after_pause
            self._active.append(_Group(jobs, now, slowness))
            self.groups.append(len(jobs))

    def _advance(self, now: float) -> None:
        """Do the work of the time since the last change, at the speed of that time."""
        for group in self._active:
            group.left -= (now - self._now) / self._whole(group)
        self.core_seconds += min(self._cores, len(self._active)) * (now - self._now)
        self.worker_seconds += len(self._active) * (now - self._now)
        self._now = now
        self.version += 1

    def _whole(self, group: _Group) -> float:
        """Return the seconds of a whole group with as many busy workers as now."""
        return self._seconds[len(self._active) - 1][len(group.jobs) - 1] * group.slowness

    def _seconds_left(self, group: _Group) -> float:
        return group.left * self._whole(group)
