"""A process that does nothing but receive the messages of a channel of Redis, see ``Channel``.

A server cuts a subscriber off that does not read fast enough (``client-output-buffer-limit``, 32 MB
by default). A thread of the process that detects waits for the interpreter's lock too often for
that; this process shares its lock with nobody. ``python -m yolo_service.redis_subscriber`` reads

- one line of JSON on standard input, see ``Subscription``; it ends when standard input is closed,

and writes

- each message to standard output, preceded by its length (``LENGTH``),
- one line of JSON for each event to standard error: ``{"event": NAME, "value": VALUE}``.

It imports no more than it needs: it has to start quickly, and to be small.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import redis

from yolo_service.errors import InputError
from yolo_service.redis import RETRY_SECONDS, Address, Server, is_gone

LENGTH = struct.Struct("<Q")
"""Bytes of the message that follows."""

Event = Literal["subscribed", "lost", "late", "gone", "back", "error"]
"""``lost``: so many messages did not fit into the buffer; ``late``: so many were received and not
passed on at the end; ``gone`` and ``error``: why."""

_MESSAGES, _EVENTS = 1, 2  # standard output and error, without buffers that fail at the end

TELL_SECONDS = 1.0
"""How often messages that did not fit are told."""
POLL_SECONDS = 0.2
QUIET_SECONDS = 5.0
"""After which the server is asked whether it is there."""
SILENT_SECONDS = 15.0
"""After which it is gone."""


@dataclass(frozen=True)
class Subscription:
    """What the process is told.

    Attributes:
        shown: the address without user and password.
        name: of the channel.
        connection: arguments of ``redis.Connection``.
        is_encrypted: whether TLS is used.
        max_bytes: of the messages that wait here.
    """

    shown: str
    name: str
    connection: Mapping[str, Any]
    is_encrypted: bool
    max_bytes: int

    @classmethod
    def of(cls, address: Address, max_bytes: int) -> Subscription:
        """Describe the channel of an address."""
        connection = dict(address.connection)
        return cls(address.shown, address.name, connection, address.is_encrypted, max_bytes)

    def address(self) -> Address:
        """Return the address again."""
        return Address(
            self.shown, "channel", self.name, {}, dict(self.connection), self.is_encrypted
        )

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(asdict(self)) + "\n"


class Buffer:
    """Messages that wait, up to a number of bytes; closed, it hands out no more."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._messages: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, message: bytes) -> bool:
        """Add a message; returns False if it does not fit. One fits always."""
        with self._changed:
            if self._messages and self._bytes + len(message) > self._max_bytes:
                return False
            self._messages.append(message)
            self._bytes += len(message)
            self._changed.notify()
            return True

    def get(self) -> bytes | None:
        """Wait for the oldest message, and remove it; None if the buffer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._is_closed)
            if self._is_closed:
                return None
            message = self._messages.popleft()
            self._bytes -= len(message)
            return message

    def close(self) -> None:
        """Hand out no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def __len__(self) -> int:
        return len(self._messages)


class Subscriber:
    """Reads a channel until it is stopped, by one connection after the other."""

    def __init__(self, subscription: Subscription) -> None:
        self.buffer = Buffer(subscription.max_bytes)
        self._server = Server(subscription.address(), InputError)
        self._stopped = threading.Event()
        self._dropped, self._told_at = 0, 0.0
        self._heard_at, self._asked = 0.0, False

    def stop(self) -> None:
        """Read no more than what has arrived."""
        self._stopped.set()

    def run(self) -> None:
        """Read; each message is put into ``buffer``."""
        try:
            connection = self._server.call(lambda _: self._subscribe(), patience=0)
            tell("subscribed")
            self._read_on(connection)
        except InputError as error:
            tell("error", str(error))
        except Exception as error:
            tell("error", str(self._server.failed(error)))
        finally:
            self._tell_dropped(wait=0)
            self.buffer.close()

    def _subscribe(self) -> Any:
        connection = self._server.connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", self._server.address.name)
            connection.read_response()
        except BaseException:
            connection.disconnect()
            raise
        self._heard_at, self._asked = time.monotonic(), False
        return connection

    def _read_on(self, connection: Any) -> None:
        while connection:
            try:
                self._read(connection)
                return
            except (redis.RedisError, OSError) as error:
                if not is_gone(error):
                    raise
                gone = error
            finally:
                connection.disconnect()
            connection = self._reconnect(gone)

    def _read(self, connection: Any) -> None:
        """Read messages until the input is stopped, and then what has arrived."""
        until = float("inf")
        while time.monotonic() < until:
            if self._stopped.is_set() and until == float("inf"):
                until = time.monotonic() + POLL_SECONDS
            self._tell_dropped(wait=TELL_SECONDS)
            if connection.can_read(0 if self._stopped.is_set() else POLL_SECONDS):
                self._take(connection.read_response())
                self._heard_at, self._asked = time.monotonic(), False
            elif self._stopped.is_set():
                return
            else:
                self._ask(connection)

    def _take(self, message: Any) -> None:
        """Keep a message; others are answers to SUBSCRIBE and PING."""
        if message[0] == b"message" and not self.buffer.put(message[2]):
            self._dropped += 1

    def _ask(self, connection: Any) -> None:
        """Find out whether a server that sends nothing is still there."""
        quiet = time.monotonic() - self._heard_at
        if quiet > SILENT_SECONDS:
            raise redis.ConnectionError(f"nothing came for {quiet:.0f} s, no answer to PING either")
        if quiet > QUIET_SECONDS and not self._asked:
            self._asked = True
            connection.send_command("PING", check_health=False)

    def _reconnect(self, error: Exception) -> Any | None:
        """Connect again, however long that takes; None if the input is stopped meanwhile."""
        tell("gone", str(error))
        while not self._stopped.wait(RETRY_SECONDS):
            try:
                connection = self._subscribe()
            except (redis.RedisError, OSError) as problem:
                if not is_gone(problem):
                    raise
            else:
                tell("back")
                return connection
        return None

    def _tell_dropped(self, wait: float) -> None:
        if self._dropped and time.monotonic() - self._told_at >= wait:
            tell("lost", self._dropped)
            self._dropped, self._told_at = 0, time.monotonic()


def tell(event: Event, value: str | int = "") -> None:
    """Write a line for the process that has started this one, if it lives."""
    with suppress(OSError):
        os.write(_EVENTS, (json.dumps({"event": event, "value": value}) + "\n").encode())


def main() -> None:
    """Receive until standard input is closed, as it also is when the other process dies."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal or a service: to both processes
        signal.signal(number, signal.SIG_IGN)
    subscription = Subscription(**json.loads(sys.stdin.readline()))
    try:
        subscriber = Subscriber(subscription)
    except InputError as error:
        tell("error", str(error))
        return
    threading.Thread(target=_wait_for_end, args=(subscriber,), daemon=True).start()
    reading = threading.Thread(target=subscriber.run)
    reading.start()
    with suppress(BrokenPipeError):  # the other process has died; so standard input is closed, too
        while (message := subscriber.buffer.get()) is not None:
            _write(LENGTH.pack(len(message)))
            _write(message)
    reading.join()
    tell("late", len(subscriber.buffer))


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(_MESSAGES, rest) :]


def _wait_for_end(subscriber: Subscriber) -> None:
    sys.stdin.read()
    subscriber.stop()


if __name__ == "__main__":
    main()
