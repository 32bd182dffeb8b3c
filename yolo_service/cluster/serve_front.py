"""The wrapper of each of Ray Serve's proxies, see ``middlewares``.

Ray's proxy reads whole bodies into memory, whatever their size and however slowly they come; it
answers 500 when a replica ends; and it finds a replica that has a model only by a header of its
own. Here bodies have limits, a request whose replica has ended is sent to another one, and the
model that a request names becomes that header.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from starlette.middleware import Middleware
from starlette.types import ASGIApp
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)

from yolo_service.api import errors, problems
from yolo_service.cluster.serve_models import named_model
from yolo_service.errors import Overloaded
from yolo_service.http.access import request_id
from yolo_service.http.asgi import ANSWERED, BodyReader, Message, Receive, Scope, Send, header
from yolo_service.http.http_headers import MAX_BYTES, MAX_FIELDS
from yolo_service.http.serve import body_budget
from yolo_service.settings import Settings, load_settings

IMPORT_PATH = "yolo_service.cluster.serve_front.middlewares"
VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""The environment variable by which the proxies of a cluster find ``middlewares``."""

ATTEMPTS = 2
"""How often a request is sent to a replica; detecting twice does no harm."""

START_SECONDS = 60.0
"""How long a request may wait, besides its own time, until the first replica has started."""

MAX_TARGET_BYTES = 8192
"""Of an address, as gevent has it."""

RETRY_SECONDS = 1
"""``Retry-After`` where Ray gives none."""

_RAY_PATHS = frozenset({"/-/healthz", "/-/routes"})

_RAY_HEADERS = frozenset(
    {
        b"serve-multiplexed-model-id",
        b"x-request-disconnect-disabled",
        b"x-request-id",
        b"x-request-timeout-seconds",
        b"x-session-id",
    }
)
"""Headers that Ray's proxy obeys, with ``-`` for ``_``: they are not for clients."""


def middlewares() -> list[Middleware]:
    """Return what Ray's proxy is wrapped in; it calls this when it starts.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return [Middleware(Front, settings=load_settings())]


class Front:
    """An ASGI application around that of Ray's proxy."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._seconds = app, settings.request_timeout
        self._max_bytes = settings.max_upload_bytes
        self._budget = body_budget(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; those to ``/-/`` are Ray's own."""
        if scope["type"] != "http" or scope["path"] in _RAY_PATHS:
            await self._app(scope, receive, send)
            return
        identity = request_id(header(scope, b"x-request-id"))
        reader = BodyReader(receive, time.monotonic() + self._seconds, self._budget)
        try:
            _check_head(scope)
            body = await self._body(scope, reader)
            await self._forward(_for_ray(scope, body, identity), body, receive, send)
        except (ClientDisconnected, OSError):
            pass  # the client has gone, before its body was complete or during the answer
        except Exception as error:
            await _respond(scope["path"], error, identity, send)
        finally:
            reader.release()

    async def _body(self, scope: Scope, reader: BodyReader) -> bytes:
        """Read the body; of one that says it is too large nothing, so that a replica refuses it.

        Raises:
            RequestEntityTooLarge: it is too large without having said so.
            HTTPException: see ``BodyReader``.
            Overloaded: the requests being served use all the memory allowed.
        """
        length = header(scope, b"content-length")
        too_large = length.isdecimal() and int(length) > self._max_bytes
        if too_large or scope["method"] in {"GET", "HEAD"}:
            return b""
        pieces: list[bytes] = []
        left, more = self._max_bytes, True
        while more:
            message = await reader()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
            left -= len(pieces[-1])
            if left < 0:
                raise RequestEntityTooLarge
        return b"".join(pieces)

    async def _forward(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Send a request to a replica, and again if that replica ends before it has answered.

        Raises:
            Overloaded: Ray has refused the request, or the last replica has ended, too.
        """
        attempt = _Attempt(body, receive, send)
        with_time = asyncio.timeout(self._seconds + START_SECONDS)
        try:
            async with with_time:
                for _ in range(ATTEMPTS):
                    attempt = _Attempt(body, receive, send)
                    await self._app(scope, attempt.receive, attempt.send)
                    if attempt.is_over or with_time.expired():
                        break
        except TimeoutError:
            pass
        if attempt.is_gone or attempt.is_sent:
            return
        if attempt.refused_for:
            raise Overloaded(
                "all replicas are busy; try again soon", retry_after=attempt.refused_for
            )
        if with_time.expired():
            raise Overloaded("no replica has answered in time; try again later")
        raise Overloaded("the replica that computed this request has ended; try again")


@dataclass
class _Attempt:
    """A request to a replica.

    Attributes:
        is_sent: whether the client gets the replica's answer.
        is_gone: whether the client has disconnected.
        refused_for: seconds for which Ray has refused the request; 0: it has not.
    """

    body: bytes
    client_receive: Receive
    client_send: Send
    is_sent: bool = False
    is_gone: bool = False
    refused_for: int = 0
    _is_read: bool = False
    _start: Message | None = None

    @property
    def is_over(self) -> bool:
        """Whether another attempt would be of no use."""
        return self.is_sent or self.is_gone or self.refused_for > 0

    async def receive(self) -> Message:
        """Return the body, and then wait for the client to leave."""
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        while (message := await self.client_receive())["type"] == "http.request":
            pass  # what was not asked for is discarded
        self.is_gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on, as soon as its body begins: a replica may end before that."""
        if message["type"] == "http.response.start":
            if ANSWERED not in message and message["status"] in {408, 503}:
                self.refused_for = _retry_after(message)
            self._start = message
        elif not self.refused_for:
            if self._start is not None:
                self.is_sent = True
                await self.client_send(self._start)
                self._start = None
            await self.client_send(message)


def _check_head(scope: Scope) -> None:
    """Check what uvicorn takes in any size and number.

    Raises:
        RequestURITooLarge: the address is longer than 8 kB.
        RequestHeaderFieldsTooLarge: there are too many header fields, or they are too large.
        BadRequest: there is more than one host.
    """
    fields = scope["headers"]
    if len(scope["path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        raise RequestURITooLarge("the request line is too long; send long values in the body")
    if len(fields) > MAX_FIELDS or sum(len(key) + len(value) for key, value in fields) > MAX_BYTES:
        raise RequestHeaderFieldsTooLarge(
            f"expected at most {MAX_FIELDS} header fields of {MAX_BYTES} bytes in all"
        )
    if sum(key == b"host" for key, _ in fields) > 1:
        raise BadRequest("more than one Host; send one")


def _for_ray(scope: Scope, body: bytes, identity: str) -> Scope:
    """Return the scope with the headers that Ray's proxy obeys."""
    kept = [(key, value) for key, value in scope["headers"] if _dashes(key) not in _RAY_HEADERS]
    kept.append((b"x-request-id", identity.encode()))
    if name := named_model(scope["path"], scope["query_string"], body):
        kept.append((b"serve_multiplexed_model_id", name.encode()))
    return {**scope, "headers": kept}


def _dashes(key: bytes) -> bytes:
    return bytes(key).lower().replace(b"_", b"-")


def _retry_after(response: Message) -> int:
    found = header(response, b"retry-after")
    return max(int(found), 1) if found.isdigit() else RETRY_SECONDS


async def _respond(path: str, error: Exception, identity: str, send: Send) -> None:
    """Answer with an error in the format of the interface at a path; invalid HTTP has none."""
    invalid = isinstance(error, BadRequest)
    response = problems.respond(error) if invalid else errors.in_format_of(path, error)
    headers = [*response.headers.items(), ("X-Request-ID", identity)]
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status_code, "headers": encoded})
    await send({"type": "http.response.body", "body": response.get_data()})
