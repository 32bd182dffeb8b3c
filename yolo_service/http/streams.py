"""Reading of connections and request bodies, with limits of time, rate and memory.

gevent switches to another greenlet only when a read has to wait. While a client sends faster than
this process parses, no other request would be served and no timeout would fire. So a greenlet that
has read for a millisecond yields to the others.
"""

from __future__ import annotations

import io
import math
import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import IO, Any

import gevent
from gevent.pywsgi import Input, _InvalidClientInput
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestTimeout

from yolo_service.errors import Overloaded
from yolo_service.http.http_headers import InvalidRequestError, read_fields

CHUNK_BYTES = 1 << 18
"""Most bytes of one read: a usual photo in one chunk."""

FRAMING_BYTES = 1 << 16
"""Bytes of chunk headers and trailers that one read may bring, besides a quarter of the content."""

GRACE_SECONDS = 5.0
"""How long a body may take whatever its rate."""

MIN_RATE = 8_000
"""Bytes per second that a body needs on average after ``GRACE_SECONDS`` (64 kbit/s)."""

LINGER_SECONDS = 2.0
"""How long the unread body of a request is discarded before its connection is closed."""

MAX_READ_SECONDS = 0.001
"""How long a greenlet reads before it yields to others, which costs 0.05 ms."""

MAX_CHUNK_LINE = 8192
"""Bytes of the line before a chunk, its extensions included."""

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[^\r\n]*)?\r\n")

_TOO_LATE = "the body of the request took too long to arrive"
_TOO_SLOW = f"the body of the request came with less than {MIN_RATE // 1000} kB per second"


class YieldingReader(io.RawIOBase):
    """Reads from a raw stream, and yields to other greenlets and to timeouts between reads.

    Attributes:
        allowance: bytes that may still be read; infinite by default.
        read_timeout: returns the context manager, such as a timeout, around each read.
        received: bytes read so far.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.allowance = math.inf
        self.read_timeout: Callable[[], AbstractContextManager[object]] = nullcontext
        self.received = 0
        self._yield_at = 0.0

    def readable(self) -> bool:  # noqa: D102 - io.BufferedReader requires it
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the bytes that are there, at most as many as the buffer takes.

        Raises:
            BadRequest: the allowance is used up.
        """
        if self.allowance <= 0:
            raise BadRequest("the body is sent in chunks that are too small; send larger ones")
        if time.monotonic() > self._yield_at:
            gevent.sleep(0)
            self._yield_at = time.monotonic() + MAX_READ_SECONDS
        count = self._read(buffer)
        self.allowance -= count or 0
        self.received += count or 0
        return count

    def _read(self, buffer: Any) -> int | None:
        """Read; a read that took long has waited, and so yielded already."""
        before = time.monotonic()
        with self.read_timeout():
            count = self._raw.readinto(buffer)
        if (now := time.monotonic()) > before + MAX_READ_SECONDS:
            self._yield_at = now + MAX_READ_SECONDS
        return count

    def close(self) -> None:
        """Close the stream and the one below."""
        self._raw.close()
        super().close()


class Budget:
    """The bytes of memory that all requests together may hold; any thread may take some."""

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Reserve some bytes until ``give_back``.

        Raises:
            Overloaded: there are not that many left.
        """
        with self._lock:
            if is_left := count <= self._left:
                self._left -= count
        if not is_left:
            megabytes = self._limit // 1_000_000
            raise Overloaded(f"{megabytes} MB of images are being served already; try again soon")

    def give_back(self, count: int) -> None:
        """Release bytes that were reserved."""
        with self._lock:
            self._left += count


class Pace:
    """How fast a body has to arrive.

    Attributes:
        began: ``time.monotonic()`` when its first bytes were expected.
        until: ``time.monotonic()`` by which it has to be complete.
    """

    def __init__(self, until: float) -> None:
        self.began, self.until = time.monotonic(), until

    def wait_seconds(self, received: int) -> tuple[float, str]:
        """Return how long the next bytes may take, and what to say if they do not come.

        Args:
            received: bytes that have come since the start of the body.

        Raises:
            RequestTimeout: the time is over already.
        """
        until, why = self.began + GRACE_SECONDS + received / MIN_RATE, _TOO_SLOW
        if until > self.until:
            until, why = self.until, _TOO_LATE
        if (seconds := until - time.monotonic()) <= 0:
            raise RequestTimeout(why)  # a timer does not fire while there is always data
        return seconds, why


class Body(Input):  # type: ignore[misc]  # gevent's classes have no types
    """A request body with a time limit, a minimum rate and a limit on the memory that it takes.

    Args:
        body: gevent's own.
        connection: the stream that ``body`` reads from.
        until: ``time.monotonic()`` by which it has to be complete.
        budget: the memory of all bodies.
        waiting: makes the context in which the client is waited for.

    Attributes:
        abandoned: whether the start of the next request is unknown, so that the connection has to
            be closed.
    """

    def __init__(
        self,
        body: Input,
        connection: YieldingReader,
        until: float,
        budget: Budget,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(body.rfile, body.content_length, body.socket, body.chunked_input)
        self.abandoned = False
        self._connection, self._pace, self._budget = connection, Pace(until), budget
        self._waiting = waiting
        self._held = 0
        self._received_before = connection.received

    def read(self, length: int | None = None) -> bytes:
        """Read like a file, but at most ``CHUNK_BYTES`` at once if a length is given.

        Raises:
            RequestTimeout: the body takes too long, or comes with less than ``MIN_RATE``.
            BadRequest: the chunks of the body are too small.
            ClientDisconnected: the client closed the connection before the end of the body.
            Overloaded: the requests being served use all the memory allowed.
        """
        if length is None or length < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        return self._take(super().read, length)

    def readline(self, size: int | None = None) -> bytes:
        """Read a line like a file, but at most ``CHUNK_BYTES``; raises as ``read`` does."""
        return self._take(super().readline, CHUNK_BYTES if size is None or size < 0 else size)

    def hold(self, count: int) -> None:
        """Count bytes that stay in memory until the request is answered.

        Raises:
            Overloaded: the requests being served use all the memory allowed.
        """
        self._budget.take(count)
        self._held += count

    def _take(self, read: Callable[[int], bytes], size: int) -> bytes:
        chunk = self._limited(read, min(size, CHUNK_BYTES))
        self.hold(len(chunk))
        return chunk

    def _limited(self, read: Callable[[int], bytes], size: int) -> bytes:
        """Read within the limits of time, rate and framing."""
        if not self.chunked_input and self.position == (self.content_length or 0):
            return b""
        # gevent limits neither the number of chunk headers nor that of trailers.
        self._connection.allowance = size * 5 // 4 + FRAMING_BYTES
        self._connection.read_timeout = self._timeout
        try:
            with self._waiting():
                return read(size)
        except OSError as error:
            if self.chunked_input:
                raise  # it may be invalid framing, which gevent answers with 400
            raise ClientDisconnected from error
        finally:
            self._connection.allowance = math.inf
            self._connection.read_timeout = nullcontext

    def _timeout(self) -> gevent.Timeout:
        """Return a timeout for the next bytes: the time limit or the minimum rate, if sooner."""
        received = self._connection.received - self._received_before
        seconds, why = self._pace.wait_seconds(received)
        return gevent.Timeout(seconds, RequestTimeout(why))

    def _Input__read_chunk_length(self, rfile: IO[bytes]) -> int:  # noqa: N802 - gevent's private name
        """Read the line before a chunk, and the trailers after the last one.

        gevent's own method takes line ends within extensions, and trailers that are no fields, so
        that a proxy may see the end of the body elsewhere.
        """
        line = rfile.readline(MAX_CHUNK_LINE)
        if (match := _CHUNK_LINE.fullmatch(line)) is not None:
            with suppress(InvalidRequestError):
                if (size := int(match[1], 16)) == 0:
                    read_fields(rfile)
                return size
        self._chunked_input_error = True
        raise _InvalidClientInput

    def _discard(self) -> None:
        """End the request: release its memory and discard what the application has not read."""
        self._budget.give_back(self._held)
        self._held = 0
        # A client that waits for "100 Continue" may send its body or not; after broken chunks,
        # too, the start of the next request is unknown.
        waits = self.socket is not None and self.content_length != 0
        self.abandoned = waits or self._chunked_input_error or not self._is_at_its_end()

    def _is_at_its_end(self) -> bool:
        """Read to the end of the body within ``LINGER_SECONDS``; returns whether it was reached."""
        self._pace.until = time.monotonic() + LINGER_SECONDS
        try:
            while self._limited(super().read, CHUNK_BYTES):
                pass
        except (HTTPException, OSError):
            return False
        return not self._chunked_input_error
