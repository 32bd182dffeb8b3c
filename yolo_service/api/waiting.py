"""Waiting for a future as a greenlet, so that the event loop goes on."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from typing import TypeVar

import gevent
from gevent.event import Event

from yolo_service.errors import DeadlineExceeded

T = TypeVar("T")

LONG_SECONDS = 1e8
"""Stands for no deadline: without a timer, an event loop that has nothing else to do would end."""


def wait(future: Future[T], deadline: float = math.inf) -> T:
    """Wait for a future that native threads complete, and return its result.

    Whatever ends the wait early, a deadline or the end of the greenlet, cancels the future.

    Args:
        future: from the predictor or a ``DaemonExecutor``.
        deadline: ``time.monotonic()`` at which to give up.

    Raises:
        DeadlineExceeded: the deadline has passed.
        Exception: the future's own.
    """
    done, loop = Event(), gevent.get_hub().loop
    future.add_done_callback(lambda _: loop.run_callback_threadsafe(done.set))
    try:
        if not done.wait(min(max(0.0, deadline - time.monotonic()), LONG_SECONDS)):
            raise DeadlineExceeded
    except BaseException:
        future.cancel()
        raise
    return future.result()
