"""The client of a request: its connection and the limits of time and memory.

The server puts an object into the WSGI environment; without a server, as in tests, there are no
limits.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

import flask

CLIENT: Final = "yolo_service.client"
"""Name of the object in the WSGI environment."""


class Client(Protocol):
    """The client of a request.

    Attributes:
        deadline: ``time.monotonic()`` by which the request has to be answered.
    """

    deadline: float

    def is_connected(self) -> bool:
        """Return whether the client is connected; may be called from any thread."""
        ...

    def while_connected(self) -> AbstractContextManager[None]:
        """Raise ClientGone in a block that waits when the client closes its connection."""
        ...

    def hold(self, count: int) -> None:
        """Count bytes that are kept in memory until the request is answered.

        Raises:
            Overloaded: the requests being served use all the memory allowed.
        """
        ...


class _NoServer:
    """The client of a request that came without a server."""

    deadline = math.inf

    def is_connected(self) -> bool:
        return True

    def while_connected(self) -> AbstractContextManager[None]:
        return nullcontext()

    def hold(self, count: int) -> None:
        pass


def current_client() -> Client:
    """Return the client of the request that is being handled."""
    client: Client = flask.request.environ.get(CLIENT) or _NoServer()
    return client
