"""The client of a request: its connection and the limits of time and memory."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import flask

CLIENT: Final = "yolo_service.client"
"""Name of the client in the WSGI environment, where the server puts it."""


class Client:
    """A client without limits, as in tests without a server; the server's overrides all methods.

    Attributes:
        deadline: ``time.monotonic()`` by which the request has to be answered.
    """

    deadline = math.inf

    def is_connected(self) -> bool:
        """Return whether the client is connected; may be called from any thread."""
        return True

    def while_connected(self) -> AbstractContextManager[None]:
        """Raise ClientGone in a block that waits when the client closes its connection."""
        return nullcontext()

    def hold(self, count: int) -> None:
        """Count bytes that are kept in memory until the request is answered.

        Raises:
            Overloaded: the requests being served use all the memory allowed.
        """


def current_client() -> Client:
    """Return the client of the request that is being handled."""
    client: Client = flask.request.environ.get(CLIENT) or Client()
    return client
