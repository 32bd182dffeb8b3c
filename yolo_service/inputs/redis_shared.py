"""What lists and streams have in common: processes share one, and inherit from each other.

A process says again and again that it is alive. What one has taken that has not said so for
``claim`` seconds is taken by the others.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from yolo_service.errors import InputError
from yolo_service.inputs.item import Item
from yolo_service.inputs.options import InputOptions
from yolo_service.redis import Server

log = logging.getLogger(__name__)

CLAIM_SECONDS = 15.0
BLOCK_SECONDS = 0.5
"""How long the server waits for an item before it answers that there is none."""
JOIN_SECONDS = 5.0


class Shared(ABC):
    """An endless ``Input`` whose items are acknowledged."""

    def __init__(self, server: Server, options: InputOptions) -> None:
        """Begin to take part.

        Raises:
            InputError: the server refuses that.
        """
        self._server, self._options = server, options
        self._key = server.address.name
        self._claim_seconds = server.address.number("claim", CLAIM_SECONDS)
        self._looked_at = float("-inf")
        self._stopped, self._closed = threading.Event(), threading.Event()
        server.call(self._enter, patience=0)
        self._thread = threading.Thread(target=self._renew_always, name="redis-claim", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while not self._is_over():
            try:
                item = self._server.call(self._next, patience=float("inf"), is_over=self._is_over)
            except InputError:
                if self._is_over():
                    return
                raise
            if item is not None and self._is_over():
                item.release()
            elif item is not None:
                yield item

    def count(self) -> int | None:
        """Return None: nobody knows."""
        return None

    def stop(self) -> None:
        """Yield no more items."""
        self._stopped.set()

    def close(self) -> None:
        """Give back what was taken and not yielded."""
        if self._closed.is_set():
            return
        self._stopped.set()
        self._closed.set()
        self._thread.join(JOIN_SECONDS)
        with suppress(InputError):  # others take it when this process is silent
            self._server.call(self._leave, patience=0)
        self._server.close()

    def _next(self, client: Any) -> Item | None:
        """Take an item: one that was left by others, about as often as such can appear."""
        now = time.monotonic()
        if now - self._looked_at > self._claim_seconds / 3:
            if item := self._inherit(client):
                return item
            self._looked_at = now
        return self._take(client)

    def _is_over(self) -> bool:
        return self._options.is_over(self._stopped)

    def _renew_always(self) -> None:
        while not self._closed.wait(self._claim_seconds / 3):
            try:
                self._server.call(self._renew, patience=0)
            except InputError as error:
                log.warning("%s; trying again", error)

    @abstractmethod
    def _enter(self, client: Any) -> None:
        """Make what is needed on the server."""

    @abstractmethod
    def _inherit(self, client: Any) -> Item | None:
        """Take an item of a process that is silent; None if there is none."""

    @abstractmethod
    def _take(self, client: Any) -> Item | None:
        """Take a new item; None if none comes within ``BLOCK_SECONDS``."""

    @abstractmethod
    def _renew(self, client: Any) -> None:
        """Tell that this process lives."""

    @abstractmethod
    def _leave(self, client: Any) -> None:
        """Give back what was taken and not yielded."""
