"""Repeated calls and their times."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def time_calls(call: Callable[[], object], seconds: float, images: int) -> dict[str, float]:
    """Call again and again, at least three times, after three calls that warm up.

    Args:
        call: returns when its result is there.
        seconds: how long.
        images: computed by a call.

    Returns:
        Least, p50 and p99 of a call in ms, and images per second.
    """
    for _ in range(3):
        call()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() < began + seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    rate = images * len(times) / (time.perf_counter() - began)
    least, p50, p99 = (round(float(x) * 1e3, 4) for x in np.percentile(times, (0, 50, 99)))
    return {"least": least, "p50": p50, "p99": p99, "rate": round(rate, 2)}
