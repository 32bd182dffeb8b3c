"""What others send, read fairly: no peer may keep the loop, the memory or a connection to itself.

gevent switches to another greenlet only when a read has to wait. A peer that sends faster than
this process parses would never let that happen: nothing else would be served, and no time-out
would strike. So whoever has read for a millisecond lets the others run first.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gevent
from gevent.pywsgi import Input
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestTimeout

from yolo_service.errors import Overloaded

PIECE = 1 << 18
"""Most bytes that are read at once: a usual photo in one piece."""

FRAMING = 1 << 16
"""Bytes besides its content, and a quarter of that, that a piece of a body may bring along."""

GRACE_SECONDS = 5.0
"""How long a body may take whatever its rate: a connection has to get going."""

MIN_RATE = 8_000
"""Bytes per second that a body has to bring on average from then on (64 kbit/s). Who drips has to
send that much on each of the connections that are to be held."""

LINGER_SECONDS = 2.0
"""How long an answered request's unread body is thrown away before the connection is closed."""

_TOO_LATE = "the body of the request took too long to arrive"
_TOO_SLOW = f"the body of the request came with less than {MIN_RATE // 1000} kB per second"

TURN_SECONDS = 0.001
"""How long a greenlet may go on reading without letting others run; doing so costs 0.05 ms."""


class FairReader(io.RawIOBase):
    """A raw stream that lets other greenlets run, and time-outs strike, between reads.

    Attributes:
        allowance: bytes that may still be read; no limit unless somebody sets one.
        patience: makes the context, such as a time-out, in which each read waits.
        received: bytes that were read so far.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.allowance = math.inf
        self.patience: Callable[[], AbstractContextManager[object]] = nullcontext
        self.received = 0
        self._turn_ends = 0.0

    def readable(self) -> bool:
        """Say that it can be read, which ``io.BufferedReader`` asks."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is.

        Raises:
            BadRequest: more than the allowance.
        """
        if self.allowance <= 0:
            raise BadRequest("the body is sent in chunks that are too small; send larger ones")
        if time.monotonic() > self._turn_ends:
            gevent.sleep(0)
            self._turn_ends = time.monotonic() + TURN_SECONDS
        count = self._read(buffer)
        self.allowance -= count or 0
        self.received += count or 0
        return count

    def _read(self, buffer: Any) -> int | None:
        """Read; one that took long had to wait, and others ran in the meantime."""
        before = time.monotonic()
        with self.patience():
            count = self._raw.readinto(buffer)
        if (now := time.monotonic()) > before + TURN_SECONDS:
            self._turn_ends = now + TURN_SECONDS
        return count

    def close(self) -> None:
        """Close the stream below, too."""
        self._raw.close()
        super().close()


class Budget:
    """The bytes that all requests together may hold in memory while they are served.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit

    def take(self, count: int) -> None:
        """Take some bytes, to be given back with ``give_back``.

        Raises:
            Overloaded: there are not that many left.
        """
        if count > self._left:
            megabytes = self._limit // 1_000_000
            raise Overloaded(f"{megabytes} MB of images are being served already; try again soon")
        self._left -= count

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        self._left += count


class Body(Input):  # type: ignore[misc]  # gevent's classes have no types
    """A request body that arrives in time and within bounds, and is not thrown away without end.

    Args:
        body: gevent's own.
        wire: what it is read from.
        until: ``time.monotonic()`` at which it has to be there.
        budget: of the memory that all bodies take together.
    """

    def __init__(self, body: Input, wire: FairReader, until: float, budget: Budget) -> None:
        super().__init__(body.rfile, body.content_length, body.socket, body.chunked_input)
        self.abandoned = False
        self._wire, self._until, self._budget = wire, until, budget
        self._held = 0
        self._began, self._received_before = time.monotonic(), wire.received

    def read(self, length: int | None = None) -> bytes:
        """Read like a file, but not more than ``PIECE`` bytes at once.

        Raises:
            RequestTimeout: the client takes too long, or sends less than ``MIN_RATE``.
            BadRequest: the client wraps few bytes in many.
            ClientDisconnected: the client left in the middle of it.
            Overloaded: the requests being served fill the memory.
        """
        if length is None or length < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        return self._kept(self._timed(super().read, min(length, PIECE)))

    def readline(self, size: int | None = None) -> bytes:
        """Read a line like a file, but not more than ``PIECE`` bytes; raises as ``read`` does."""
        if size is None or size < 0:
            size = PIECE
        return self._kept(self._timed(super().readline, min(size, PIECE)))

    def hold(self, count: int) -> None:
        """Count bytes that are kept in memory until the request is answered.

        Raises:
            Overloaded: the requests being served fill the memory.
        """
        self._budget.take(count)
        self._held += count

    def _kept(self, piece: bytes) -> bytes:
        self.hold(len(piece))
        return piece

    def _timed(self, read: Callable[[int], bytes], size: int) -> bytes:
        if not self.chunked_input and self.position == (self.content_length or 0):
            return b""
        # Headers of chunks, and the trailers behind them, cost time but have no limit of their own.
        self._wire.allowance = size * 5 // 4 + FRAMING
        self._wire.patience = self._patience
        try:
            return read(size)
        except OSError as error:
            if self.chunked_input:
                raise  # it may be no HTTP, too, which gevent answers
            raise ClientDisconnected from error
        finally:
            self._wire.allowance = math.inf
            self._wire.patience = nullcontext

    def _patience(self) -> gevent.Timeout:
        """Wait for the next bytes until time is over, or the average below the smallest rate."""
        worth = (self._wire.received - self._received_before) / MIN_RATE
        until, why = self._began + GRACE_SECONDS + worth, _TOO_SLOW
        if until > self._until:
            until, why = self._until, _TOO_LATE
        if (seconds := until - time.monotonic()) <= 0:
            raise RequestTimeout(why)  # where there is always something to read, no timer strikes
        return gevent.Timeout(seconds, RequestTimeout(why))

    def _discard(self) -> None:
        """End the request: forget what was read, and throw away what the application left."""
        self._budget.give_back(self._held)
        self._held = 0
        # Who waits for "100 Continue" may send a body or not; after broken chunks, too, nobody
        # knows where the next request begins.
        waits = self.socket is not None and self.content_length != 0
        self.abandoned = waits or self._chunked_input_error or not self._is_at_its_end()

    def _is_at_its_end(self) -> bool:
        self._until = time.monotonic() + LINGER_SECONDS
        try:
            while self._timed(super().read, PIECE):
                pass
        except (HTTPException, OSError):
            return False
        return not self._chunked_input_error
