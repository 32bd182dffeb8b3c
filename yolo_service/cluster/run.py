"""One run of ``yolo-service detect --cluster``: actors compute, this process reads and writes."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple

from darknet.errors import DarknetError
from darknet.limits import available_cpus
from yolo_service.cluster.dataset import Job, Result, detect
from yolo_service.cluster.ray_cluster import Actor, Pool
from yolo_service.errors import ConfigurationError, InputError, PipelineError, ServiceError
from yolo_service.inputs.address import UnreadableFileError
from yolo_service.inputs.item import Input, Item
from yolo_service.outputs.output import Output
from yolo_service.results import Progress, ResultWriter
from yolo_service.threads import DaemonExecutor, failed

AHEAD = 64
"""Results that are encoded before they are put."""
AHEAD_WITH_PIXELS = 8
"""The same where they have decoded images, to be drawn on."""

_RAISED = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Unavailable): (.+)")


class Resources(NamedTuple):
    """The module ray, connected, and what of the cluster is used."""

    ray: Any
    actor: Actor
    pool: Pool


class ClusterRun:
    """A run over an input that ends; ``run`` is called once.

    All items are listed first, then their addresses go to the actors. Results come back in the
    order of the input. What a killed run has written is skipped by the next one with ``resume``.

    Args:
        source: the input; the caller closes it.
        resources: of the cluster.
        job: what actors need.
        output: is closed at the end of the run, or aborted.
        resume: whether items that have a result are skipped.
        limit: most items; None: all.
        ended: called with the numbers after each item.
    """

    def __init__(
        self,
        source: Input,
        resources: Resources,
        job: Job,
        output: Output,
        *,
        resume: bool = False,
        limit: int | None = None,
        ended: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        options = replace(job.options, keep_image=job.options.keep_image or output.needs_image)
        self._job = replace(job, options=options, needs_sha256=output.needs_sha256)
        self._source, self._resources, self._output = source, resources, output
        self._limit = limit
        self._writer = ResultWriter(output, resume=resume, ended=ended)
        self._encoders = DaemonExecutor("encode", available_cpus())
        self._stopped = threading.Event()

    @property
    def progress(self) -> Progress:
        """The numbers so far."""
        return self._writer.progress

    def run(self) -> Progress:
        """Process items until the input ends; returns their numbers.

        Raises:
            PipelineError: the input, the output or the cluster failed.
        """
        try:
            items = dict(enumerate(self._wanted()))
            for item, encoded in self._encoded(items):
                self._writer.put(item, encoded)
                self._writer.flush_sometimes()
            self._output.close()
        except BaseException:
            self._output.abort()
            raise
        finally:
            self._writer.release()
        return self.progress

    def stop(self) -> None:
        """Write the results that are there, and wait for no others; for signals, never waits."""
        self._stopped.set()
        self._source.stop()

    def _wanted(self) -> Iterator[Item]:
        """List the items that have no result and can be read elsewhere."""
        begun = 0
        for item in self._source:
            self._writer.begin(item)
            if self._writer.has_result(item):
                self._writer.skip(item)
                continue
            begun += 1
            if item.address is None:
                self._writer.put(item, _unreadable(item))
            else:
                yield item
            if self._stopped.is_set() or begun == self._limit:
                return

    def _encoded(self, items: dict[int, Item]) -> Iterator[tuple[Item, Future[Any]]]:
        """Yield items with the futures of what the output encodes, a few of them ahead."""
        waiting: deque[tuple[Item, Future[Any]]] = deque()
        for result in self._results(items):
            if (item := items.pop(result.number, None)) is None:
                continue  # a task whose actor was lost ran again, and both have answered
            item.sha256 = result.sha256
            waiting.append((item, self._encoders.submit(self._encode, item, result)))
            if len(waiting) == (AHEAD_WITH_PIXELS if self._job.options.keep_image else AHEAD):
                yield waiting.popleft()
        yield from waiting
        if items and not self._stopped.is_set():
            raise PipelineError(f"the cluster has answered nothing for {len(items)} images")

    def _encode(self, item: Item, result: Result) -> Any:
        if isinstance(result.outcome, UnreadableFileError) and _is_here(item):
            raise PipelineError(
                f"{item.origin} cannot be read on the machines of the cluster: {result.outcome}; "
                "they need the same files at the same paths"
            )
        if isinstance(result.outcome, Exception):
            raise result.outcome
        return self._output.encode(item, replace(result.outcome, name=item.name))

    def _results(self, items: dict[int, Item]) -> Iterator[Result]:
        if not items or self._stopped.is_set():
            return
        ray, actor, pool = self._resources
        addresses = [(number, item.address or "") for number, item in items.items()]
        try:
            for block in detect(ray, addresses, self._job, actor, pool):
                yield from block
                if self._stopped.is_set():
                    return
        except PipelineError:
            raise
        except Exception as error:
            raise PipelineError(f"the cluster has failed: {cause_of(error)}") from error


def cause_of(error: BaseException) -> str:
    """Return the message of what an actor raised, without the tracebacks that Ray puts before it.

    They end as Python's do: with the class and the message, and lines of the message itself.
    """
    while isinstance(inner := getattr(error, "cause", None), Exception):
        error = inner
    if isinstance(error, ServiceError | ConfigurationError | DarknetError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [found[1] for line in lines if (found := _RAISED.match(line))]
    return (raised or lines or [type(error).__name__])[-1]


def _is_here(item: Item) -> bool:
    """Return whether this machine can read the file that another one cannot."""
    return bool(item.address) and os.access(item.address or "", os.R_OK)


def _unreadable(item: Item) -> Future[Any]:
    """Return the future of an item that no other process can read."""
    try:
        item.read()
    except Exception as error:
        return failed(error)
    return failed(InputError(f"{item.origin} cannot be read by other machines"))
