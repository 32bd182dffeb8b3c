"""A channel of Redis, whose messages a process of its own receives, see ``redis_subscriber``.

::

    server ──> process: receive ──> buffer of bounded size ──pipe──> thread ──> queue ──> items
"""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, cast

from yolo_service import metrics
from yolo_service.errors import InputError
from yolo_service.inputs.item import Item
from yolo_service.inputs.message import Message, names
from yolo_service.inputs.options import InputOptions
from yolo_service.redis import Server
from yolo_service.redis_subscriber import LENGTH, Subscription

log = logging.getLogger(__name__)

BUFFER_MB = 256
POLL_SECONDS = 0.2
READY_SECONDS = 60.0
"""How long the process may take to start, on a busy machine."""
END_SECONDS = 5.0
AHEAD = 4
"""Images in this process that are not begun; the others wait in the other one."""


class Channel:
    """An endless ``Input``: the messages of a channel, each of them an encoded image.

    It subscribes when it is opened.
    """

    def __init__(self, server: Server, options: InputOptions) -> None:
        """Subscribe.

        Raises:
            InputError: the server refuses that.
        """
        self._address, self._options = server.address, options
        server.close()
        self._stopped, self._ready = threading.Event(), threading.Event()
        self._error: str | None = None
        self._images: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._process = _start()
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._told, self._received, self._events = cast(tuple[IO[bytes], ...], pipes)
        self._threads = [
            threading.Thread(target=self._receive, name="redis-channel", daemon=True),
            threading.Thread(target=self._listen, name="redis-events", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._subscribe()

    def __iter__(self) -> Iterator[Item]:
        for name in names(self._address.name):
            if (image := self._next()) is None:
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
        if not self._told.closed:
            with suppress(OSError):
                self._told.close()
            self._lose(self._rest())
            self._end()

    def _subscribe(self) -> None:
        subscription = Subscription.of(self._address, self._max_bytes())
        try:
            self._told.write(subscription.to_json().encode())
            self._told.flush()
        except OSError as error:  # it has ended
            self._error = self._error or str(error)
        if not self._ready.wait(READY_SECONDS) or self._error:
            self.close()
            raise InputError(self._error or f"{self._address.shown}: no process could be started")

    def _max_bytes(self) -> int:
        return int(self._address.number("buffer_mb", BUFFER_MB) * 1e6)

    def _next(self) -> bytes | None:
        """Wait for an image; None if the input is stopped.

        Raises:
            InputError: the process has ended.
        """
        while not self._is_over():
            with suppress(queue.Empty):
                if image := self._images.get(timeout=POLL_SECONDS):
                    return image
                raise self._ended()
        return None

    def _is_over(self) -> bool:
        return self._options.is_over(self._stopped)

    def _ended(self) -> InputError:
        code = self._process.wait()
        ended = f"{self._address.shown}: the process that receives has ended with {code}"
        return InputError(self._error or ended)

    def _rest(self) -> int:
        """Take what the process still sends; returns how many images that were."""
        count = 0
        with suppress(queue.Empty):
            while self._images.get(timeout=END_SECONDS) is not None:
                count += 1
        return count

    def _end(self) -> None:
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(END_SECONDS)
        self._received.close()
        self._events.close()

    def _receive(self) -> None:
        """Take images from the process, each when there is room."""
        while len(head := self._received.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(head)
            if len(image := self._received.read(length)) < length:
                break
            self._images.put(image)
        self._images.put(None)

    def _listen(self) -> None:
        """Log and count what the process tells."""
        for line in self._events:
            try:
                told = json.loads(line)
                self._heed(told["event"], told["value"])
            except (ValueError, TypeError, KeyError):
                log.warning("%s: %s", self._address.shown, line.decode(errors="replace").rstrip())
        self._ready.set()

    def _heed(self, event: str, value: str | int) -> None:
        shown = self._address.shown
        match event:
            case "subscribed":
                self._ready.set()
            case "error":
                self._error = str(value)
            case "lost":
                metrics.INPUT_LOST.inc(int(value))
                size = self._address.parameters.get("buffer_mb", BUFFER_MB)
                log.warning(_NO_ROOM, shown, value, size)
            case "late":
                self._lose(int(value))
            case "gone":
                metrics.INPUT_CONNECTIONS_LOST.inc()
                log.warning(_GONE, shown, value)
            case "back":
                log.warning("%s is back", shown)

    def _lose(self, count: int) -> None:
        if count:
            metrics.INPUT_LOST.inc(count)
            log.warning("%s: %d images came too late for this run", self._address.shown, count)


_NO_ROOM = (
    "%s: %s images did not fit into the buffer of %s MB and are lost; images come faster than they "
    "are computed"
)
_GONE = "%s is gone (%s); what is published until it is back is lost"


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "yolo_service.redis_subscriber"]
    return subprocess.Popen(  # noqa: S603 - this Python with a module of ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
