"""gevent's WSGI server, made safe to leave running.

What it adds: answers leave in one write (small writes on kept-alive connections stall 40 ms),
time limits for everything a client sends, a request id and a line of log per request, problem+json
also for what is no HTTP, and a stop that finishes what was accepted.
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import gevent.socket
from gevent.pool import Pool
from gevent.pywsgi import Input, WSGIHandler, WSGIServer
from werkzeug.exceptions import RequestTimeout

from yolo_service import logs, metrics, problems

log = logging.getLogger(__name__)
access = logging.getLogger(logs.ACCESS)

CONNECTED = "yolo_service.connected"
"""Name in the WSGI environment of a function that says whether the client is still there."""

BACKLOG = 1024
MAX_CONNECTIONS = 1000
IDLE_SECONDS = 75.0
HEADER_SECONDS = 10.0
LINGER_SECONDS = 2.0
"""How long an answered request's unread body is thrown away before the connection is closed."""
STOPPING_SECONDS = 0.5
"""How long a connection that was just accepted may take to send its request while stopping."""

PIECE = 32768
"""Werkzeug parses forms twice as fast in such pieces as in its own of 64 KB."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def listen(host: str, port: int) -> gevent.socket.socket:
    """Open a listening socket; IPv6 if the host is an IPv6 address.

    Raises:
        OSError: the address is in use or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    native = socket.create_server((host, port), family=family, backlog=BACKLOG)
    return gevent.socket.socket(family, fileno=native.detach())


class Body(Input):  # type: ignore[misc]  # gevent's classes have no types
    """A request body that has to arrive in time and is not thrown away without end."""

    def __init__(self, body: Input, until: float) -> None:
        super().__init__(body.rfile, body.content_length, body.socket, body.chunked_input)
        self.abandoned = False
        self._until = until

    def read(self, length: int | None = None) -> bytes:
        """Read like a file, but not more than ``PIECE`` bytes at once.

        Raises:
            RequestTimeout: the client takes too long.
        """
        if length is not None:
            length = min(length, PIECE)
        return self._timed(super().read, length)

    def readline(self, size: int | None = None) -> bytes:
        """Read a line like a file; raises as ``read`` does."""
        return self._timed(super().readline, size)

    def _timed(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        late = RequestTimeout("the body of the request took too long to arrive")
        with gevent.Timeout(max(0.001, self._until - time.monotonic()), late):
            return read(size)

    def _discard(self) -> None:
        """Throw away what the application left, so that the next request can be read."""
        self._until = time.monotonic() + LINGER_SECONDS
        try:
            super()._discard()
        except (RequestTimeout, OSError):
            self.abandoned = True
        # After broken chunks nobody knows where the next request begins.
        self.abandoned = self.abandoned or self._chunked_input_error


class Handler(WSGIHandler):  # type: ignore[misc]  # gevent's classes have no types
    """One connection."""

    server: Server
    wsgi_input: Body
    status: str | None
    request_id = "-"
    _unsent: bytearray | None = None

    def handle(self) -> None:
        """Serve requests until the connection ends."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle()

    def read_requestline(self) -> str:
        """Wait for the next request, as long as an idle connection may stay open."""
        waiting = gevent.getcurrent()
        self.server.idle.add(waiting)
        seconds = STOPPING_SECONDS if self.server.stopping else IDLE_SECONDS
        try:
            with gevent.Timeout(seconds, TimeoutError()):
                line: str = super().read_requestline()
                return line
        finally:
            self.server.idle.discard(waiting)

    def read_request(self, raw_requestline: str) -> bool:
        """Read the headers, which must arrive soon."""
        with gevent.Timeout(HEADER_SECONDS, RequestTimeout("the headers took too long")):
            read = bool(super().read_request(raw_requestline))
        self._check_framing()
        return read

    def _check_framing(self) -> None:
        """Refuse bodies whose end a proxy could see elsewhere than gevent does."""
        codings = self.headers.get_all("transfer-encoding", [])
        lengths = self.headers.get_all("content-length", [])
        if codings and [coding.lower() for coding in codings] != ["chunked"]:
            raise ValueError("a transfer coding other than chunked")
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]+", length) for length in lengths):
            raise ValueError("a content length that is not one number")

    def handle_one_request(self) -> Any:
        """Serve a request; what is no HTTP is answered with a problem, too."""
        self.command, self.path = "-", "-"
        self.environ: dict[str, Any] = {}
        self.status = self._orig_status = None
        self.request_id = secrets.token_hex(8)
        result = super().handle_one_request()
        if not isinstance(result, tuple):
            return result
        status = int(result[0])
        advice = {408: "the headers of the request took too long to arrive"}
        problem = problems.of_status(status, advice.get(status, "this is not a valid request"))
        return str(status), problem.http(self.request_id)

    def get_environ(self) -> dict[str, Any]:
        """Make the WSGI environment of a request."""
        environ: dict[str, Any] = super().get_environ()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        if _REQUEST_ID.fullmatch(given):
            self.request_id = given
        logs.request_id.set(self.request_id)
        self.wsgi_input = Body(self.wsgi_input, time.monotonic() + self.server.body_seconds)
        environ["wsgi.input"] = self.wsgi_input
        environ[CONNECTED] = self.is_connected
        return environ

    def is_connected(self) -> bool:
        """Say whether the client still listens; for any thread, while a request is served."""
        try:
            with socket.fromfd(self.socket.fileno(), socket.AF_INET, socket.SOCK_STREAM) as peer:
                return bool(peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except (OSError, AttributeError):
            return False

    def handle_one_response(self) -> None:
        """Let the application answer."""
        super().handle_one_response()
        if self.wsgi_input.abandoned or self.server.stopping:
            self.close_connection = True

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """Begin the answer; after 408 and 413 the rest of the body is not waited for."""
        headers = [*headers, ("X-Request-ID", self.request_id)]
        if self.server.stopping or status[:3] in {"408", "413"}:
            headers.append(("Connection", "close"))
        return super().start_response(status, headers, exc_info)

    def _write_with_headers(self, data: bytes) -> None:
        """Send head and body in one write."""
        self._unsent = bytearray()
        super()._write_with_headers(data)
        unsent, self._unsent = self._unsent, None
        super()._sendall(unsent)

    def _sendall(self, data: bytes) -> None:
        if self._unsent is None:
            super()._sendall(data)
        else:
            self._unsent += data

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        return ("408" if isinstance(ex, RequestTimeout) else "400"), b""

    def _send_error_response_if_possible(self, error_code: int) -> None:
        self.close_connection = True
        if self.headers_sent:
            return
        self.status = str(error_code)
        problem = problems.of_status(error_code, "the request broke off")
        with suppress(OSError):
            self.socket.sendall(problem.http(self.request_id))

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Log what no application caught."""
        log.error("unexpected error", exc_info=(t, v, tb))
        self._send_error_response_if_possible(500)

    def log_request(self) -> None:
        """Count the answer and log it, without the query, which may hold signed URLs."""
        path, seconds = self.path.partition("?")[0], time.time() - self.time_start
        fields = {
            "client": self.client_address[0],
            "method": self.command,
            "path": path if path.isprintable() else ascii(path),
            "status": int((self._orig_status or self.status or "0").split()[0]),
            "bytes": self.response_length,
            "ms": round(seconds * 1000, 1),
            "request_id": self.request_id,
        }
        text = "{client} {method} {path} {status} {bytes} B {ms} ms {request_id}"
        access.info("%s", text.format_map(fields), extra={"fields": fields})
        metrics.count_request(self.command, self.environ, fields["status"], seconds)


class Server(WSGIServer):  # type: ignore[misc]  # gevent's classes have no types
    """Listens, and stops in order.

    Args:
        listener: from ``listen``.
        application: the WSGI application.
        body_seconds: how long a request's body may take to arrive.
    """

    handler_class = Handler

    def __init__(
        self, listener: gevent.socket.socket, application: Callable[..., Any], body_seconds: float
    ) -> None:
        # Without a name given, gevent asks the DNS for one, which may hang where there is none.
        environ = {"SERVER_NAME": listener.getsockname()[0]}
        pool = Pool(MAX_CONNECTIONS)
        super().__init__(listener, application, spawn=pool, log=None, environ=environ)
        self.body_seconds = body_seconds
        self.idle: set[gevent.Greenlet] = set()
        self.stopping = False

    @property
    def url(self) -> str:
        """Where to find it."""
        host, port = self.address[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def finish(self, grace: float) -> bool:
        """Stop listening and finish the requests that were accepted.

        Args:
            grace: seconds after which they are broken off.

        Returns:
            Whether all of them were finished.
        """
        self.stopping = True
        self.close()
        gevent.killall(list(self.idle))
        finished = bool(self.pool.join(timeout=grace))
        self.pool.kill()
        return finished
