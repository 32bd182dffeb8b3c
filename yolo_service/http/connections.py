"""Connections that wait for their client, and which one is closed when there are too many."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import gevent

MAX_CHECKS = 8
"""How many connections are checked for unread data, which takes a system call each."""

SPARED_SECONDS = 1.0
"""How long a body is received before its connection may be closed for others."""


class Connection(Protocol):
    """What is asked of a connection."""

    address: str

    def has_data(self) -> bool:
        """Return whether the client has sent something that was not read yet."""
        ...

    def received(self) -> int:
        """Return the bytes that the client has sent so far."""
        ...


C = TypeVar("C", bound=Connection)


@dataclass(eq=False)
class _Waiting(Generic[C]):
    connection: C
    since: float = field(default_factory=time.monotonic)
    received_before: int = 0

    @property
    def rate(self) -> float:
        """Bytes per second since the connection waits."""
        seconds = max(0.001, time.monotonic() - self.since)
        return (self.connection.received() - self.received_before) / seconds


class WaitingConnections(Generic[C]):
    """The connections of a server that wait for a head or for a body, by their greenlets."""

    def __init__(self) -> None:
        self.heads: dict[gevent.Greenlet, _Waiting[C]] = {}
        self._bodies: dict[gevent.Greenlet, _Waiting[C]] = {}

    @contextmanager
    def head(self, connection: C) -> Iterator[None]:
        """Count a connection, for a block, as one whose head is not complete."""
        with _listed(self.heads, connection):
            yield

    @contextmanager
    def body(self, connection: C) -> Iterator[None]:
        """Count a connection, for a block, as one whose body is not complete."""
        with _listed(self._bodies, connection):
            yield

    def close_one(self) -> None:
        """Close a connection to make room for a new one, if there is one that waits.

        Those without a complete head come first, of the address that has most of them the oldest;
        then, likewise, the slowest body.
        """
        greenlet = self._oldest_head() or self._slowest_body()
        if greenlet is not None:
            self.heads.pop(greenlet, None)
            self._bodies.pop(greenlet, None)
            greenlet.kill(block=False)

    def _oldest_head(self) -> gevent.Greenlet | None:
        """Return the greenlet that has waited longest, unless its client has sent unread bytes."""
        oldest = itertools.islice(_of_commonest_address(self.heads), MAX_CHECKS)
        silent = (key for key in oldest if not self.heads[key].connection.has_data())
        return next(silent, None)

    def _slowest_body(self) -> gevent.Greenlet | None:
        before = time.monotonic() - SPARED_SECONDS
        old = {key: waiting for key, waiting in self._bodies.items() if waiting.since < before}
        return min(_of_commonest_address(old), key=lambda key: old[key].rate, default=None)


@contextmanager
def _listed(waiting: dict[gevent.Greenlet, _Waiting[C]], connection: C) -> Iterator[None]:
    greenlet = gevent.getcurrent()
    waiting[greenlet] = _Waiting(connection, received_before=connection.received())
    try:
        yield
    finally:
        waiting.pop(greenlet, None)


def _of_commonest_address(waiting: dict[gevent.Greenlet, _Waiting[C]]) -> Iterator[gevent.Greenlet]:
    counts = Counter(each.connection.address for each in waiting.values())
    commonest = max(counts, key=lambda address: counts[address], default=None)
    return (key for key, each in waiting.items() if each.connection.address == commonest)
