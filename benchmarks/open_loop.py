"""Requests that leave when it is their time, over kept-alive connections as a proxy has them.

Who waits for an answer before the next request asks less of a slow service, and measures a better
time than its clients have (coordinated omission). So every request is sent at the time that was
drawn for it, whether others were answered or not. asyncio wakes up to a millisecond late; what
counts is when a request was really sent, which ``Answers`` has.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.simulation import Seconds, percentile

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, eq=False)
class Answers:
    """How the requests went.

    Attributes:
        sent: float64[requests], when each was sent, in seconds from the start, rising.
        seconds: float64[requests], from then to the answer; infinite for those that were not
            answered 200.
        refused: the part of the requests that was answered 503.
        broken: the part that was answered otherwise or not at all.
        client_seconds: processor time of this process for a request.
    """

    sent: Seconds
    seconds: Seconds
    refused: float
    broken: float
    client_seconds: float

    def percentile(self, percent: float) -> float:
        """Return what so many percent of all requests stayed below, in seconds."""
        return percentile(self.seconds, percent)


def send(port: int, data: bytes, arrivals: Seconds) -> Answers:
    """Send a request at each of these times.

    Args:
        port: on this machine.
        data: the whole request; its connection stays open.
        arrivals: float64[requests], rising, in seconds from now.
    """
    before = time.process_time()
    client = _Client(port, data)
    asyncio.run(client.send(arrivals))
    cost = (time.process_time() - before) / len(arrivals)
    statuses = np.array(client.statuses)
    seconds = np.where(statuses == 200, client.seconds, np.inf)
    refused = np.mean(statuses == 503)
    broken = np.mean((statuses != 200) & (statuses != 503))
    order = np.argsort(client.sent)
    sent = np.array(client.sent)[order]
    return Answers(sent, seconds[order], float(refused), float(broken), cost)


@dataclass
class _Client:
    port: int
    data: bytes
    sent: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    _idle: list[Connection] = field(default_factory=list)

    async def send(self, arrivals: Seconds) -> None:
        count = len(arrivals)
        self.sent, self.seconds, self.statuses = [0.0] * count, [0.0] * count, [0] * count
        start = time.perf_counter()
        tasks = []
        for number, due in enumerate((start + arrivals).tolist()):
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(self._one(number, start)))
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()

    async def _one(self, number: int, start: float) -> None:
        sent = time.perf_counter()
        with contextlib.suppress(OSError, EOFError):
            self.statuses[number] = await self._answer()
        self.sent[number], self.seconds[number] = sent - start, time.perf_counter() - sent

    async def _answer(self) -> int:
        """Return the status of an answer that was read to its end."""
        reader, writer = await self._connection()
        writer.write(self.data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        if re.search(rb"(?i)\r\nconnection: close", head):
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[9:12])

    async def _connection(self) -> Connection:
        return self._idle.pop() if self._idle else await self._open()

    async def _open(self) -> Connection:
        return await asyncio.open_connection("127.0.0.1", self.port)
