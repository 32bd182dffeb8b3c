"""Daemon threads that call functions and return futures, and their priority.

``concurrent.futures.ThreadPoolExecutor`` joins its threads when the interpreter exits, so one call
that hangs in native code would keep the process alive. These threads are not joined.
"""

from __future__ import annotations

import contextvars
import functools
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from yolo_service.errors import Overloaded, ShuttingDown

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

_Call = tuple[Future[Any], Callable[[], Any]]

NICENESS = 5
"""In steps of nice(2): a third of the CPU share of threads at normal priority."""


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread and of those that it starts.

    Without this, requests that arrive while all CPUs compute would wait seconds for a refusal.
    On Linux only: elsewhere a thread has no priority of its own.
    """
    if sys.platform == "linux":
        priority = os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICENESS
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), priority)


class DaemonExecutor:
    """Calls functions on daemon threads of low priority, which are started when needed.

    A function runs in a copy of the caller's context, so its log lines have the request's id.

    Args:
        name: of the threads.
        threads: most threads.
        max_waiting: calls that may wait for a thread; None: no limit.
    """

    def __init__(self, name: str, threads: int = 1, *, max_waiting: int | None = None) -> None:
        self._name, self._max_threads = name, threads
        self._limit = None if max_waiting is None else threads + max_waiting
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call; never waits.

        Raises:
            Overloaded: ``max_waiting`` calls wait already.
            ShuttingDown: it was closed.
        """
        future: Future[T] = Future()
        call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        with self._lock:
            if self._closed:
                raise ShuttingDown
            if self._limit is not None and self._pending >= self._limit:
                raise Overloaded(
                    f"all {self._max_threads} {self._name} threads are busy; try again"
                )
            self._pending += 1
            if len(self._threads) < min(self._pending, self._max_threads):
                name = f"{self._name}-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        self._calls.put((future, call))
        return future

    def close(self, until: float) -> bool:
        """End the threads after the queued calls; waits until ``time.monotonic()`` is ``until``.

        Returns whether all of them have ended.
        """
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        return join_all(self._threads, until)

    def _work(self) -> None:
        lower_thread_priority()
        while call := self._calls.get():
            complete = _called(*call)
            with self._lock:
                self._pending -= 1  # before somebody who has waited for the result comes again
            complete()
            del call, complete  # the result must not stay in memory until the next call


def _called(future: Future[T], function: Callable[[], T]) -> Callable[[], None]:
    """Call a function, unless its future was cancelled; returns what completes the future."""
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        return functools.partial(future.set_result, function())
    except BaseException as error:
        return functools.partial(future.set_exception, error)


def join_all(threads: list[threading.Thread], until: float) -> bool:
    """Wait for threads until ``time.monotonic()`` is ``until``; returns whether all have ended."""
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def submit_each(
    items: Iterable[S], submit: Callable[[S], Future[T]], ahead: int
) -> Generator[Future[T], None, None]:
    """Submit items one after the other, and yield their futures in order.

    The caller has to wait for each future before it takes the next one: so there are never more
    than ``ahead`` that are not done, whatever the number of items. Those that are not taken are
    cancelled.

    Args:
        items: arguments of ``submit``; each is taken when it can be submitted.
        submit: begins the work on an item; what it raises becomes a future's exception.
        ahead: most items that are submitted at once.
    """
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            if len(waiting) == ahead:
                yield waiting.popleft()
            waiting.append(_submitted(submit, item))
        while waiting:
            yield waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()


def _submitted(submit: Callable[[S], Future[T]], item: S) -> Future[T]:
    try:
        return submit(item)
    except Exception as error:
        return failed(error)


def failed(error: Exception) -> Future[Any]:
    """Return a future that is done with an exception, without the frames where it was raised."""
    future: Future[Any] = Future()
    future.set_exception(error.with_traceback(None))  # they may hold an image
    return future


def copy_result(source: Future[T], target: Future[T]) -> None:
    """Give a future the result or exception of one that is done, unless it was cancelled."""
    if (error := source.exception()) is not None:
        set_exception(target, error)
    else:
        set_result(target, source.result())


def set_result(future: Future[T], result: T) -> None:
    """Set the result of a future, unless it is done or was cancelled."""
    with suppress(InvalidStateError):
        future.set_result(result)


def set_exception(future: Future[Any], error: BaseException) -> None:
    """Set the exception of a future, unless it is done or was cancelled."""
    with suppress(InvalidStateError):
        future.set_exception(error)
