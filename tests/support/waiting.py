"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 60


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until a condition is true; fail after a time that is long even for a busy machine."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
