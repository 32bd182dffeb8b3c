"""The WSGI application for an ASGI server such as a replica of Ray Serve.

a2wsgi calls it on threads. gevent needs no patches for that: each thread that waits has a hub of
its own. This module adds what gevent's server adds elsewhere: limits of time, rate and memory for
bodies, the client of each request, and a line of log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import gevent
from a2wsgi import WSGIMiddleware
from werkzeug.exceptions import ClientDisconnected, RequestTimeout

from yolo_service import logs
from yolo_service.api.client import CLIENT, Client
from yolo_service.errors import ClientGone
from yolo_service.http.access import Answered, request_id
from yolo_service.http.streams import Budget, Pace

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ANSWERED: Final = "yolo_service.answered"
"""A key of the first message of each response of the application, which servers do not have."""


class AsgiApplication:
    """Serves the requests of an ASGI server.

    Args:
        application: the WSGI application.
        request_seconds: how long a request may take, from its headers to its response.
        budget: the memory of all bodies.
        threads: requests that are served at once; others wait.
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        request_seconds: float,
        budget: Budget,
        threads: int,
    ) -> None:
        self._call: Any = WSGIMiddleware(_with_client(application), workers=threads)
        self._request_seconds, self._budget = request_seconds, budget
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection: a request, or the start and end of the server.

        If it is cancelled, because the client has gone, the thread is told and finishes by itself:
        nobody could interrupt it, and it must not wait for somebody who takes its answer.
        """
        if scope["type"] != "http":
            await self._call(scope, receive, send)
            return
        request = AsgiRequest(scope, receive, send, self._request_seconds, self._budget)
        running = asyncio.get_running_loop().create_task(self._serve(scope, request))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            request.disconnect()
            raise

    async def _serve(self, scope: Scope, request: AsgiRequest) -> None:
        logs.request_id.set(request.request_id)
        try:
            await self._call({**scope, CLIENT: request}, request.receive, request.send)
        except Exception:
            log.exception("unexpected error")
            raise
        finally:
            request.end()


def _with_client(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request: AsgiRequest = environ["asgi.scope"][CLIENT]
        environ[CLIENT] = request
        environ["wsgi.input_terminated"] = True  # a body without a length ends by itself
        request.environ = environ
        return application(environ, start_response)

    return call


class AsgiRequest(Client):
    """A request: reads its body within the limits, and says what became of its client.

    ``receive`` and ``send`` belong to the event loop, what ``Client`` has to the request's thread.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, seconds: float, budget: Budget
    ) -> None:
        self._scope, self._send = scope, send
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self._body = BodyReader(receive, self.deadline, budget)
        self.environ: dict[str, Any] = {}
        self.request_id = request_id(header(scope, b"x-request-id"))
        self._status = self._length = self._announced = 0
        self._is_gone = False
        self._interrupt: Callable[[], None] = _nothing

    async def receive(self) -> Message:
        """Return the next piece of the body; see ``BodyReader``."""
        if self._is_gone:
            raise ClientDisconnected
        return await self._body()

    async def send(self, message: Message) -> None:
        """Send a message of the response; without a client it is dropped.

        The message that completes the announced length is the last one. a2wsgi sends an empty one
        after it, before which a client may have left satisfied: that would count as a disconnect.
        """
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._announced = int(header(message, b"content-length") or -1)
            message[ANSWERED] = True
        elif self._length == self._announced > 0:
            return
        else:
            self._length += len(message["body"])
            if self._length == self._announced:
                message["more_body"] = False
        if not self._is_gone:
            with suppress(OSError):
                await self._send(message)

    def disconnect(self) -> None:
        """Note that the client has gone, and end what waits for that."""
        self._is_gone = True
        self._interrupt()

    def end(self) -> None:
        """Release the memory of the request, and log it."""
        self._body.release()
        Answered(
            client=str((self._scope.get("client") or ("-",))[0]),
            method=self._scope["method"],
            path=self._scope["path"],
            status=self._status,
            length=self._length,
            seconds=time.monotonic() - self.began,
            request_id=self.request_id,
        ).log(self.environ)

    def is_connected(self) -> bool:  # noqa: D102 - as in Client
        return not self._is_gone

    def hold(self, count: int) -> None:  # noqa: D102 - as in Client
        self._body.hold(count)

    @contextmanager
    def while_connected(self) -> Iterator[None]:
        """Cancel a block as soon as the client disconnects.

        Raises:
            ClientGone: in the block, at any place where it waits.
        """
        waiting, loop = gevent.getcurrent(), gevent.get_hub().loop
        in_block = [True]

        def throw() -> None:
            if in_block:
                waiting.throw(ClientGone())

        self._interrupt = lambda: loop.run_callback_threadsafe(throw)
        try:
            if self._is_gone:
                raise ClientGone
            yield
        finally:
            in_block.clear()  # what was scheduled meanwhile must not interrupt a later wait
            self._interrupt = _nothing


class BodyReader:
    """Receives the body of an ASGI request, with limits of time, rate and memory.

    Args:
        receive: of ASGI.
        until: ``time.monotonic()`` by which the body has to be complete.
        budget: the memory of all bodies.
    """

    def __init__(self, receive: Receive, until: float, budget: Budget) -> None:
        self._receive, self._budget = receive, budget
        self._pace = Pace(until)
        self._received = self._held = 0

    async def __call__(self) -> Message:
        """Return the next message, of type ``http.request``.

        Raises:
            RequestTimeout: the body takes too long, or comes too slowly.
            ClientDisconnected: the client closed the connection before the end of the body.
            Overloaded: the requests being served use all the memory allowed.
        """
        seconds, why = self._pace.wait_seconds(self._received)
        try:
            async with asyncio.timeout(seconds):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout(why) from None
        if message["type"] != "http.request":
            raise ClientDisconnected
        count = len(message.get("body", b""))
        self._received += count
        self.hold(count)
        return message

    def hold(self, count: int) -> None:
        """Count bytes that stay in memory until ``release``.

        Raises:
            Overloaded: the requests being served use all the memory allowed.
        """
        self._budget.take(count)
        self._held += count

    def release(self) -> None:
        """Release all bytes that were counted."""
        self._budget.give_back(self._held)
        self._held = 0


def header(message: Message, name: bytes) -> str:
    """Return a header of a scope or of a response, by its name in lower case; empty: not there."""
    found: bytes = next((value for key, value in message["headers"] if key == name), b"")
    return found.decode("latin-1")


def _nothing() -> None:
    pass
