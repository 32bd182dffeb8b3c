"""What workers have made, handed to the loop.

One answer right after another costs the loop a sixth less than one at a time, because its code and
data are still in the processor's cache. So while requests queue, where throughput counts, some
answers are handed over together; a request that finds an idle worker never waits for others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

TOGETHER = 3
"""Answers that wait for each other. More save little more, and arrive unevenly."""

PATIENCE_SECONDS = 0.01
"""How long the first of them waits for the others."""


class Outbox:
    """Calls functions on the loop that made it, for other threads.

    Args:
        is_busy: says whether it is worth it to wait for more; asked by any thread.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._waiting: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._loop = gevent.get_hub().loop
        self._timer = self._loop.timer(PATIENCE_SECONDS, PATIENCE_SECONDS, ref=False)

    def watch(self) -> None:
        """See to it that nothing waits for long; called on the loop whenever it may get busy."""
        if not self._timer.active:
            self._timer.start(self._look)

    def put(self, function: Callable[[Any], object], value: Any) -> None:
        """Have a function called on the loop, soon; for any thread."""
        self._waiting.append((function, value))
        # This order: who is told of no rest has put what the next look finds.
        if len(self._waiting) >= TOGETHER or not self._is_busy():
            self._loop.run_callback_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._waiting:
            function, value = self._waiting.popleft()
            function(value)

    def _look(self) -> None:
        was_busy = self._is_busy()
        self._deliver()
        if not was_busy:
            self._timer.stop()
