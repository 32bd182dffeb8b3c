"""Waiting for a future in a greenlet, while the event loop runs others."""

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
"""Timer instead of no deadline: an event loop without any timer or socket would end."""


def wait(future: Future[T], deadline: float = math.inf) -> T:
    """Wait for a future of a native thread until ``time.monotonic()`` is ``deadline``.

    If the wait ends early, by the deadline or the end of the greenlet, the future is cancelled.

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
