"""gevent's WSGI server with limits for hostile clients and an orderly stop.

It adds: responses in one write (small writes on kept-alive connections stall 40 ms), time limits
for everything that a client sends, strict framing of requests (RFC 9112), a request id and a line
of log per request, problem+json also for invalid HTTP, and a stop that finishes what was accepted.
"""

from __future__ import annotations

import errno
import functools
import io
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import gevent
import gevent.socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from werkzeug.exceptions import RequestTimeout

from yolo_service import logs
from yolo_service.api import problems
from yolo_service.api.client import CLIENT, Client
from yolo_service.errors import ClientGone, Overloaded
from yolo_service.http.access import Answered, request_id
from yolo_service.http.connections import WaitingConnections
from yolo_service.http.cors import kept_headers
from yolo_service.http.http_headers import (
    HeaderFields,
    HeadersTooLargeError,
    InvalidRequestError,
    check_framing,
    escape_beyond_ascii,
    origin_form,
    read_fields,
)
from yolo_service.http.streams import Body, Budget, YieldingReader

log = logging.getLogger(__name__)

BACKLOG = 1024
MAX_CONNECTIONS = 1000
SPARE_CONNECTIONS = 50
"""When fewer are left, connections that wait for their client are closed for new ones."""
IDLE_SECONDS = 75.0
"""Between the requests of a connection."""
HEADER_SECONDS = 10.0
"""For the first bytes of a connection, and from a request's first line to its last header."""
SMALL_RESPONSE_BYTES = 65_536
"""Responses up to this size are sent in one write, and not counted."""
RESPONSES_BYTES = 256_000_000
"""Memory that larger responses may take together until their clients have read them."""
SEND_SECONDS = 60.0
"""How long a client may take to read its response."""
STOPPING_SECONDS = 0.5
"""How long a connection that was just accepted may take to send its request while stopping."""

READABLE = 1
"""libev's event that a socket has data, or has been closed by the other side."""


def listen(host: str, port: int) -> gevent.socket.socket:
    """Open a listening socket; IPv6 if the host is an IPv6 address.

    Raises:
        OSError: the address is in use or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    native = socket.create_server((host, port), family=family, backlog=BACKLOG)
    return gevent.socket.socket(family, fileno=native.detach())


class Handler(Client, WSGIHandler):  # type: ignore[misc]  # gevent's classes have no types
    """One connection."""

    server: Server
    headers: HeaderFields
    wsgi_input: Body
    status: str | None
    _orig_status: str | None
    path: str
    request_id = "-"
    deadline = 0.0
    is_idle = False
    _began = 0.0
    _unsent: bytearray | None = None
    _held_for_response = 0

    def __init__(self, sock: Any, address: Any, server: Server) -> None:
        self._idle_timeout = HEADER_SECONDS
        self._connection = YieldingReader(sock.makefile("rb", 0))
        super().__init__(sock, address, server, rfile=io.BufferedReader(self._connection))

    def handle(self) -> None:
        """Serve requests until the connection ends."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # the client may disconnect at any time
            super().handle()

    def read_requestline(self) -> str:
        """Wait for the next request, as long as an idle connection may stay open."""
        seconds = STOPPING_SECONDS if self.server.stopping else self._idle_timeout
        self.is_idle = True
        try:
            with self.server.waiting.head(self), gevent.Timeout(seconds, TimeoutError()):
                line: str = super().read_requestline()
                return line
        finally:
            self.is_idle = False
            self._idle_timeout = IDLE_SECONDS

    def read_request(self, raw_requestline: str) -> bool:
        """Read the headers, which must arrive within ``HEADER_SECONDS``."""
        timeout = RequestTimeout("the headers of the request took too long to arrive")
        with self.server.waiting.head(self), gevent.Timeout(HEADER_SECONDS, timeout):
            read = bool(super().read_request(escape_beyond_ascii(raw_requestline)))
        self.path = origin_form(self.path)
        return read

    def MessageClass(self, file: IO[bytes], _: int) -> HeaderFields:  # noqa: N802 - gevent's name
        """Read the headers, and check them before gevent changes them.

        Raises:
            InvalidRequestError: see ``read_fields`` and ``check_framing``, or the request line is
                not three words with one space between them, which others may split elsewhere.
        """
        fields = read_fields(file)
        if self.requestline != f"{self.command} {self.path} {self.request_version}":
            raise InvalidRequestError("expected METHOD TARGET VERSION with one space between them")
        check_framing(fields, self.request_version)
        return fields

    def _headers(self) -> Iterator[tuple[str, str]]:
        return self.headers.environ()

    def handle_one_request(self) -> Any:
        """Serve a request; invalid HTTP is answered with a problem document."""
        self.command, self.path = "-", "-"
        self.environ: dict[str, Any] = {}
        self.status = self._orig_status = None
        self.request_id = request_id()
        result = super().handle_one_request()
        if not isinstance(result, tuple):
            return result
        status, detail = result
        if status == "414":  # gevent's own
            detail = "the request line is too long; send long values in the body"
        return status, problems.of_status(int(status), detail).http(self.request_id)

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment of a request."""
        environ: dict[str, Any] = super().get_environ()
        self._began = time.monotonic()
        if given := environ.get("HTTP_X_REQUEST_ID"):
            self.request_id = request_id(given)
        logs.request_id.set(self.request_id)
        self.deadline = self._began + self.server.request_seconds
        waiting = functools.partial(self.server.waiting.body, self)
        self.wsgi_input = Body(
            self.wsgi_input, self._connection, self.deadline, self.server.budget, waiting
        )
        environ["wsgi.input"] = self.wsgi_input
        environ[CLIENT] = self
        return environ

    @property
    def is_new(self) -> bool:
        """Whether no request has come over this connection yet."""
        return self._idle_timeout == HEADER_SECONDS

    def is_connected(self) -> bool:  # noqa: D102 - as in Client
        return self._peek() != b""

    def hold(self, count: int) -> None:  # noqa: D102 - as in Client
        self.wsgi_input.hold(count)

    @contextmanager
    def while_connected(self) -> Iterator[None]:
        """Cancel a block of the request's greenlet as soon as the client disconnects.

        Not noticed if the client has sent more than the request: the end of the connection comes
        after those bytes.

        Raises:
            ClientGone: in the block, at any place where it waits.
        """
        waiting = gevent.getcurrent()

        def check() -> None:
            watcher.stop()
            if not self.is_connected():
                waiting.throw(ClientGone())

        with gevent.get_hub().loop.io(self.socket.fileno(), READABLE) as watcher:
            watcher.start(check)
            yield

    @property
    def address(self) -> str:
        """The client's address."""
        return str(self.client_address[0])

    def received(self) -> int:
        """Return the bytes that have come over this connection."""
        return self._connection.received

    def has_data(self) -> bool:
        """Return whether the client has sent bytes that are still unread."""
        return bool(self._peek())

    def _peek(self) -> bytes | None:
        """Return the next byte without reading it; None: not there yet, empty: disconnected."""
        try:
            # gevent's own methods are for its loop only; those of the socket below for any thread.
            peeked: bytes = self.socket._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except (OSError, AttributeError):
            return b""
        return peeked

    def handle_one_response(self) -> None:
        """Call the application and send its response."""
        try:
            super().handle_one_response()
        finally:
            self.server.responses.give_back(self._held_for_response)
            self._held_for_response = 0
        if self.wsgi_input.abandoned or self.server.stopping:
            self.close_connection = True

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """Begin the response; after 408 and 413 the connection is closed, its body unread."""
        headers = [*headers, ("X-Request-ID", self.request_id)]
        if self.server.stopping or status[:3] in {"408", "413"}:
            headers.append(("Connection", "close"))
        return super().start_response(status, headers, exc_info)

    def _write_with_headers(self, data: bytes) -> None:
        """Send head and body in one write; a large body is not copied for it.

        Large bodies that wait for their clients count for the memory that all may take.
        """
        if len(data) > SMALL_RESPONSE_BYTES:
            try:
                self.server.responses.take(len(data))
            except Overloaded as error:
                self._refuse(error)
                return
            self._held_for_response += len(data)
            super()._write_with_headers(data)
            return
        self._unsent = bytearray()
        super()._write_with_headers(data)
        unsent, self._unsent = self._unsent, None
        self._sendall(bytes(unsent))

    def _refuse(self, error: Overloaded) -> None:
        """Send a problem document instead of the response of the application."""
        self.headers_sent = self.close_connection = True
        problem = problems.of_error(error)
        self.status = f"{problem.status} {problem.title}"
        self._orig_status = self.status
        self._sendall(problem.http(self.request_id, kept_headers(self.response_headers)))

    def _sendall(self, data: bytes) -> None:
        if self._unsent is not None:
            self._unsent += data
            return
        timeout = BrokenPipeError(errno.EPIPE, "the client does not read its response")
        with gevent.Timeout(SEND_SECONDS, timeout):
            super()._sendall(data)

    def _handle_client_error(self, ex: Exception) -> tuple[str, str]:
        """Return the status and detail of a problem; gevent's own messages repeat the request."""
        if isinstance(ex, RequestTimeout):
            return "408", str(ex.description)
        if isinstance(ex, HeadersTooLargeError):
            return "431", str(ex)
        reason = str(ex) if isinstance(ex, InvalidRequestError) else "see RFC 9112"
        return "400", f"the request is not valid HTTP/1.1: {reason}"

    def _send_error_response_if_possible(self, error_code: int) -> None:
        self.close_connection = True
        if self.headers_sent:
            return
        self.status = str(error_code)
        problem = problems.of_status(error_code, "the request broke off")
        with suppress(OSError):
            self.socket.sendall(problem.http(self.request_id))

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Log an exception that the application has not caught."""
        log.error("unexpected error", exc_info=(t, v, tb))
        self._send_error_response_if_possible(500)

    def log_request(self) -> None:
        """Count and log the response, without the query, which may hold signed URLs."""
        Answered(
            client=self.address,
            method=self.command,
            path=self.path.partition("?")[0],
            status=int((self._orig_status or self.status or "0").split()[0]),
            length=self.response_length,
            seconds=time.monotonic() - self._began,
            request_id=self.request_id,
        ).log(self.environ)


class Server(WSGIServer):  # type: ignore[misc]  # gevent's classes have no types
    """Accepts connections, and stops after the requests that it has accepted.

    Args:
        listener: from ``listen``.
        application: the WSGI application.
        request_seconds: how long a request may take, from its headers to its response.
        budget: the memory of all bodies.
    """

    handler_class = Handler

    def __init__(
        self,
        listener: gevent.socket.socket,
        application: Callable[..., Any],
        request_seconds: float,
        budget: Budget,
    ) -> None:
        # Without a name given, gevent asks the DNS for one, which may hang where there is none.
        environ = {"SERVER_NAME": listener.getsockname()[0]}
        pool = Pool(MAX_CONNECTIONS)
        super().__init__(listener, application, spawn=pool, log=None, environ=environ)
        self.request_seconds, self.budget = request_seconds, budget
        self.responses = Budget(RESPONSES_BYTES)
        self.waiting: WaitingConnections[Handler] = WaitingConnections()
        self.stopping = False

    @property
    def url(self) -> str:
        """Address of the service."""
        host, port = self.address[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def do_handle(self, *args: Any) -> None:
        """Serve a new connection; near the limit, one that waits for its client is closed."""
        if self.pool.free_count() <= SPARE_CONNECTIONS:
            self.waiting.close_one()
        super().do_handle(*args)

    def finish(self, until: float) -> bool:
        """Stop listening and finish the accepted requests until ``time.monotonic()`` is ``until``.

        Returns whether all of them were finished; the connections of others are closed.
        """
        self.stopping = True
        self._accept_pending()
        self.close()
        # A new connection may be about to send; between requests clients expect to be closed.
        self._end_idle(new=False)
        if not self.pool.join(timeout=STOPPING_SECONDS):
            self._end_idle(new=True)
        finished = bool(self.pool.join(timeout=max(0.0, until - time.monotonic())))
        self.pool.kill()
        return finished

    def _end_idle(self, *, new: bool) -> None:
        """Close idle connections without an unread request; new ones only if asked."""
        handlers = {key: each.connection for key, each in self.waiting.heads.items()}
        gevent.killall(
            [
                greenlet
                for greenlet, handler in handlers.items()
                if handler.is_idle and (new or not handler.is_new) and not handler.has_data()
            ]
        )

    def _accept_pending(self) -> None:
        """Accept the connections in the kernel's backlog: closing would reset them."""
        while not (self.closed or self.pool.full()) and (accepted := self.do_read()):
            self.do_handle(*accepted)
