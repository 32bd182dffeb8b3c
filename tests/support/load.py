"""An open-loop load: requests leave when it is their time, whether others were answered or not."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.fixtures import BOUNDARY, Part, multipart


@dataclass(frozen=True)
class Sample:
    """How a request went.

    Attributes:
        status: of HTTP; 0 if the connection broke.
        seconds: from connecting to the last byte of the answer.
        retry_after: whether the answer said when to try again.
        queued: seconds that the image waited for a worker, if the answer says.
    """

    status: int
    seconds: float
    retry_after: bool
    queued: float


def detect_request(photo: bytes, path: str = "/detect", *, keep_alive: bool = False) -> bytes:
    """Write the whole request for a photo, with times; its connection is closed after it or not."""
    parts: list[Part] = [("image_file", photo), ("format", "objects")]
    body = multipart(parts)
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: a",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def send(port: int, data: bytes, rate: float, seconds: float) -> list[Sample]:
    """Send a request ``rate`` times a second, each on a connection of its own.

    Args:
        port: on this machine.
        data: the request.
        rate: requests per second, evenly spaced.
        seconds: how long.
    """
    return asyncio.run(_send(port, data, rate, round(rate * seconds)))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return what so many percent of the values stayed below."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


async def _send(port: int, data: bytes, rate: float, count: int) -> list[Sample]:
    start = time.perf_counter()
    tasks = []
    for number in range(count):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(_one(port, data)))
    return await asyncio.gather(*tasks)


async def _one(port: int, data: bytes) -> Sample:
    start = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
    except OSError:
        answer = b""
    seconds = time.perf_counter() - start
    status = int(answer[9:12]) if answer else 0
    queued = re.search(rb'"queue_ms": ?([0-9.]+)', answer)
    waited = float(queued[1]) / 1000 if queued else 0.0
    return Sample(status, seconds, b"\r\nRetry-After: " in answer, waited)
