"""Addresses of Redis, and connections that outlive its restarts.

``redis://host:6379/0?channel=in``: the query names one channel, list or stream, and parameters of
it. The password is read from REDIS_PASSWORD, or from the variable that ``password_env`` names.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,  # noqa: A004 - redis' name
    NoPermissionError,
    RedisError,
    TimeoutError,  # noqa: A004 - redis' name
)
from redis.retry import Retry

from yolo_service.errors import ConfigurationError, PipelineError

log = logging.getLogger(__name__)

T = TypeVar("T")

KINDS = ("channel", "list", "stream")
PASSWORD_VARIABLE = "REDIS_PASSWORD"  # noqa: S105 - the name of a variable
DEFAULT_PORT = 6379
NUMBERS = frozenset({"buffer_mb", "claim", "maxlen"})
"""Parameters that are numbers."""

RETRY_SECONDS = 0.5
"""Between two attempts to reach a server that is gone."""
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0
"""How long a command may take; blocking ones wait for less."""
PATIENCE_SECONDS = 300.0
"""How long a result or an acknowledgement waits for a server that is gone."""
HURRY_SECONDS = 2.0
"""How long it still waits when the run is to end."""
READ_BYTES = 1 << 20
"""Read from a socket at once: each read may wait for Python's lock."""

_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)
_GONE = (ConnectionError, TimeoutError, OSError)


@dataclass(frozen=True)
class Address:
    """What an address names.

    Attributes:
        shown: the address without user and password, for messages.
        kind: ``channel``, ``list`` or ``stream``.
        name: of it.
        parameters: the rest of the query.
        connection: arguments of ``redis.Connection``.
        is_encrypted: whether TLS is used.
    """

    shown: str
    kind: str
    name: str
    parameters: Mapping[str, str]
    connection: Mapping[str, Any]
    is_encrypted: bool

    def number(self, parameter: str, default: float) -> float:
        """Return a parameter that is a positive number.

        Raises:
            ConfigurationError: it is something else.
        """
        text = self.parameters.get(parameter, str(default))
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ConfigurationError(f"{self.shown}: {parameter} has to be a number above 0")
        return value


def parse(address: str, parameters: Mapping[str, tuple[str, ...]]) -> Address:
    """Parse an address.

    Args:
        address: with the scheme redis or rediss.
        parameters: that each kind may have besides ``password_env``.

    Raises:
        ConfigurationError: it names no channel, list or stream, or more than one, or has a
            parameter that is not known.
    """
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    named = [kind for kind in KINDS if query.get(kind)]
    if len(named) != 1:
        raise ConfigurationError(
            f"{shown}: expected exactly one of ?channel=NAME, ?list=NAME and ?stream=NAME"
        )
    kind = named[0]
    known = (*parameters.get(kind, ()), "password_env")
    for name in query.keys() - {kind, *known}:
        raise ConfigurationError(
            f"{shown}: a {kind} has no parameter {name} here; known are {', '.join(known)}"
        )
    connection = _connection(parts, shown, query.get("password_env"))
    is_encrypted = parts.scheme.lower() == "rediss"
    found = Address(shown, kind, query[kind], query, connection, is_encrypted)
    for name in NUMBERS & query.keys():
        found.number(name, 0)
    return found


def _connection(parts: SplitResult, shown: str, variable: str | None) -> dict[str, Any]:
    if variable and variable not in os.environ:
        raise ConfigurationError(f"{shown}: the variable {variable} is not set")
    database = parts.path.strip("/") or "0"
    try:
        port = parts.port or DEFAULT_PORT
        number = int(database)
    except ValueError as error:
        raise ConfigurationError(
            f"{shown}: expected redis://HOST:PORT/NUMBER, PORT and NUMBER being numbers"
        ) from error
    password = os.environ.get(variable or PASSWORD_VARIABLE) or unquote(parts.password or "")
    return {
        "host": parts.hostname or "localhost",
        "port": port,
        "db": number,
        "username": unquote(parts.username or "") or None,
        "password": password or None,
    }


class Server:
    """A Redis server that may be gone for a while.

    Args:
        address: of it.
        failure: the kind of error that is raised: InputError or OutputError.
    """

    def __init__(self, address: Address, failure: type[PipelineError]) -> None:
        """Connect.

        Raises:
            PipelineError: the server does not answer, or refuses the password.
        """
        self.address, self._failure = address, failure
        kind = redis.SSLConnection if address.is_encrypted else redis.Connection
        self._pool = redis.ConnectionPool(
            connection_class=kind,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_read_size=READ_BYTES,
            socket_keepalive=True,
            **address.connection,
        )
        self._client = redis.Redis(connection_pool=self._pool)
        self.call(lambda client: client.ping(), patience=0)

    def call(
        self,
        function: Callable[[Any], T],
        *,
        patience: float = PATIENCE_SECONDS,
        is_over: Callable[[], bool] = lambda: False,
        is_hurried: Callable[[], bool] = lambda: False,
    ) -> T:
        """Call a function with a client, again while the server is gone.

        What it does may happen twice: if the connection breaks before the server's answer.

        Args:
            function: is called with a ``redis.Redis``.
            patience: seconds to wait for a server that is gone.
            is_over: whether to give up waiting.
            is_hurried: whether to wait no longer than ``HURRY_SECONDS`` from now on.

        Raises:
            PipelineError: the server refuses the command, or is gone for longer.
        """
        until, lost = time.monotonic() + patience, False
        while True:
            try:
                result = function(self._client)
            except (RedisError, OSError) as error:
                if is_hurried():
                    until = min(until, time.monotonic() + HURRY_SECONDS)
                if not is_gone(error) or time.monotonic() >= until or is_over():
                    raise self.failed(error) from error
                if not lost:
                    log.warning("%s is gone, trying again: %s", self.address.shown, _reason(error))
                lost = True
            else:
                if lost:
                    log.warning("%s is back", self.address.shown)
                return result
            time.sleep(RETRY_SECONDS)

    def connection(self) -> Any:
        """Return a new ``redis.Connection``, which is not connected yet and never reconnects."""
        return self._pool.connection_class(**self._pool.connection_kwargs)

    def failed(self, error: Exception) -> PipelineError:
        """Return the error that says what a server has answered, or that it has not."""
        if isinstance(error, _REFUSED):
            hint = f"; set {PASSWORD_VARIABLE}, or the user before @ in the address"
            return self._failure(f"{self.address.shown} refuses access: {error}{hint}")
        if is_gone(error):
            return self._failure(f"{self.address.shown} does not answer: {_reason(error)}")
        return self._failure(f"{self.address.shown} refuses a command: {error}")

    def close(self) -> None:
        """Close the connections; may be called twice."""
        self._client.close()
        self._pool.disconnect()


def _reason(error: Exception) -> str:
    """Return what the system says of a connection that failed, else what the package does."""
    cause = error.__context__
    return (cause.strerror if isinstance(cause, OSError) else None) or str(error)


def is_gone(error: Exception) -> bool:
    """Return whether a server may come back, as one that is restarted does."""
    return isinstance(error, _GONE) and not isinstance(error, _REFUSED)
