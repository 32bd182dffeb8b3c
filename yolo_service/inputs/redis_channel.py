"""A channel of Redis.

A server cuts a subscriber off that does not read fast enough (``client-output-buffer-limit``, 32 MB
by default), and what is published meanwhile is lost. So one thread does nothing but read, into a
buffer of bounded size.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import redis

from yolo_service import metrics
from yolo_service.inputs.item import Item
from yolo_service.inputs.message import Message, names
from yolo_service.inputs.options import InputOptions
from yolo_service.redis import RETRY_SECONDS, Server, is_gone

log = logging.getLogger(__name__)

BUFFER_MB = 256
HOLD_SECONDS = 0.5
LOG_SECONDS = 1.0
"""How often images that did not fit are logged."""
POLL_SECONDS = 0.2
QUIET_SECONDS = 5.0
"""After which the server is asked whether it is there."""
SILENT_SECONDS = 15.0
"""After which it is gone."""
JOIN_SECONDS = 5.0


class Buffer:
    """Images that wait, up to a number of bytes.

    While more of them arrive than can be read at once, none is handed out, for ``HOLD_SECONDS``
    at most: computing would take the CPU from the thread that reads.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._held_until = 0.0
        self._images: deque[bytes] = deque()
        self._changed = threading.Condition()

    def put(self, image: bytes) -> bool:
        """Add an image; returns False if it does not fit. One fits always."""
        with self._changed:
            if self._images and self._bytes + len(image) > self._max_bytes:
                return False
            self._images.append(image)
            self._bytes += len(image)
            self._changed.notify()
            return True

    def hold(self) -> None:
        """More is arriving."""
        if not self._held_until:
            self._held_until = time.monotonic() + HOLD_SECONDS

    def hand_out(self) -> None:
        """Everything that had arrived was read."""
        with self._changed:
            self._held_until = 0.0
            self._changed.notify()

    def get(self, timeout: float) -> bytes | None:
        """Remove the oldest image; None if there is none for ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(self._can_hand_out, timeout):
                return None
            image = self._images.popleft()
            self._bytes -= len(image)
            return image

    def _can_hand_out(self) -> bool:
        return bool(self._images) and time.monotonic() >= self._held_until

    def __len__(self) -> int:
        return len(self._images)


class Channel:
    """An endless ``Input``: the messages of a channel, each of them an encoded image.

    It subscribes when it is opened.
    """

    def __init__(self, server: Server, options: InputOptions) -> None:
        """Subscribe.

        Raises:
            InputError: the server refuses that.
        """
        self._server, self._options = server, options
        self._address = server.address
        self._buffer = Buffer(int(self._address.number("buffer_mb", BUFFER_MB) * 1e6))
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._dropped, self._logged_at = 0, 0.0
        self._heard_at, self._asked = 0.0, False
        connection = server.call(lambda _: self._subscribe(), patience=0)
        self._thread = threading.Thread(
            target=self._drain, args=(connection,), name="redis-channel", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        for name in names(self._address.name):
            while (image := self._buffer.get(POLL_SECONDS)) is None:
                if self._is_over():
                    return
                if self._error:
                    raise self._error
            if self._is_over():
                self._lose(1)
                return
            yield Message(name, f"{self._address.shown} {name}", data=image, options=self._options)

    def count(self) -> int | None:
        """Return None: nobody knows."""
        return None

    def stop(self) -> None:
        """Yield no more items."""
        self._stopped.set()

    def close(self) -> None:
        """End the subscription; what was received and not begun is lost, and counted."""
        self._stopped.set()
        self._thread.join(JOIN_SECONDS)
        self._server.close()
        self._lose(len(self._buffer))
        self._buffer = Buffer(0)

    def _is_over(self) -> bool:
        stop_file = self._options.stop_file
        return self._stopped.is_set() or bool(stop_file and stop_file.exists())

    def _lose(self, count: int) -> None:
        if count:
            metrics.INPUT_LOST.inc(count)
            log.warning("%s: %d images came too late for this run", self._address.shown, count)

    def _subscribe(self) -> Any:
        connection = self._server.connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", self._address.name)
            connection.read_response()
        except BaseException:
            connection.disconnect()
            raise
        self._heard_at, self._asked = time.monotonic(), False
        return connection

    def _drain(self, connection: Any) -> None:
        """Read until the input is stopped, by one connection after the other."""
        try:
            while not self._stopped.is_set():
                try:
                    self._read(connection)
                except (redis.RedisError, OSError) as error:
                    connection.disconnect()
                    if not is_gone(error):
                        raise
                    connection = self._reconnect(error) or connection
        except Exception as error:
            self._error = self._server.failed(error)
        finally:
            connection.disconnect()
            self._log_dropped(wait=0)

    def _read(self, connection: Any) -> None:
        """Read messages until the input is stopped."""
        while not self._stopped.is_set():
            self._log_dropped(wait=LOG_SECONDS)
            if connection.can_read(0):
                self._buffer.hold()
            else:
                self._buffer.hand_out()
                if not connection.can_read(POLL_SECONDS):
                    self._ask(connection)
                    continue
            self._take(connection.read_response())
            self._heard_at, self._asked = time.monotonic(), False

    def _take(self, message: Any) -> None:
        """Keep an image; other messages are answers to SUBSCRIBE and PING."""
        if message[0] == b"message" and not self._buffer.put(message[2]):
            self._dropped += 1
            metrics.INPUT_LOST.inc()

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
        metrics.INPUT_CONNECTIONS_LOST.inc()
        log.warning(
            "%s is gone (%s); what is published until it is back is lost",
            self._address.shown,
            error,
        )
        while not self._stopped.wait(RETRY_SECONDS):
            try:
                connection = self._subscribe()
            except (redis.RedisError, OSError) as problem:
                if not is_gone(problem):
                    raise
            else:
                log.warning("%s is back", self._address.shown)
                return connection
        return None

    def _log_dropped(self, wait: float) -> None:
        if self._dropped and time.monotonic() - self._logged_at >= wait:
            log.warning(
                "%s: %d images did not fit into the buffer of %s MB and are lost; images come "
                "faster than they are computed",
                self._address.shown,
                self._dropped,
                self._address.parameters.get("buffer_mb", BUFFER_MB),
            )
            self._dropped, self._logged_at = 0, time.monotonic()
