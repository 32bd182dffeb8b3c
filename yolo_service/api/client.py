"""What a handler may ask about the client of its request.

The server puts an object into the WSGI environment; without a server, as in tests, nobody leaves
and there is no limit.
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
        deadline: ``time.monotonic()`` at which the request is given up, its body included.
    """

    deadline: float

    def is_connected(self) -> bool:
        """Return whether the client still waits; may be called from any thread."""
        ...

    def while_connected(self) -> AbstractContextManager[None]:
        """End a block with ClientGone, at any place where it waits, when the client leaves."""
        ...

    def hold(self, count: int) -> None:
        """Count bytes that are kept in memory until the request is answered.

        Raises:
            Overloaded: the requests being served fill the memory.
        """
        ...


class _NoServer:
    """Stands for the client where no server is in between."""

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
