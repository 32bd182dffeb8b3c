"""Measurements on a machine that others use, too: repeated until they had little of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

QUIET = 0.05
"""Part of a core that other programs may take while something is measured."""

_IDLE, _WAITING, _GUEST = 3, 4, 8
"""Columns of /proc/stat that are no time of a processor, or are counted in another one already."""


def own_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def quietest(
    measure: Callable[[], T], own: Callable[[], float] = own_seconds, attempts: int = 3
) -> tuple[T, float]:
    """Measure until others take less than ``QUIET``, and return the least disturbed value.

    Args:
        measure: returns a value.
        own: returns the processor time so far of all processes that belong to the measurement.
        attempts: at most.

    Returns:
        The value, and the cores that other programs took meanwhile.
    """
    found = []
    for _ in range(attempts):
        before, began = _busy_seconds() - own(), time.perf_counter()
        value = measure()
        others = (_busy_seconds() - own() - before) / (time.perf_counter() - began)
        found.append((value, max(0.0, others)))
        if others < QUIET:
            break
    return min(found, key=lambda one: one[1])


def _busy_seconds() -> float:
    """Return the processor time of all programs since the start of the machine."""
    ticks = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]))
    busy = sum(ticks[:_GUEST]) - ticks[_IDLE] - ticks[_WAITING]
    return busy / os.sysconf("SC_CLK_TCK")
