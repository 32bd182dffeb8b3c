"""gevent's WSGI server, made safe to leave running.

What it adds: answers leave in one write (small writes on kept-alive connections stall 40 ms),
time limits for everything a client sends, a request id and a line of log per request, problem+json
also for what is no HTTP, and a stop that finishes what was accepted.
"""

from __future__ import annotations

import errno
import io
import itertools
import logging
import random
import re
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

from yolo_service import logs, metrics
from yolo_service.api import problems
from yolo_service.api.client import CLIENT
from yolo_service.errors import ClientGone
from yolo_service.http.http_headers import HeaderFields, read_fields
from yolo_service.http.streams import Body, Budget, FairReader

log = logging.getLogger(__name__)
access = logging.getLogger(logs.ACCESS)

BACKLOG = 1024
MAX_CONNECTIONS = 1000
SPARE_CONNECTIONS = 50
"""When fewer are left, idle connections are closed for new ones."""
LOOKED_AT = 8
"""Of how many connections is looked whether they idle: when all are busy, none does."""
IDLE_SECONDS = 75.0
"""Between the requests of a connection."""
HEADER_SECONDS = 10.0
"""For the first bytes of a connection, and from a request's first line to its last header."""
SEND_SECONDS = 60.0
"""How long a client may take to read its answer."""
STOPPING_SECONDS = 0.5
"""How long a connection that was just accepted may take to send its request while stopping."""

READABLE = 1
"""What libev calls the event that a socket has data, or has been closed by the other side."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def listen(host: str, port: int) -> gevent.socket.socket:
    """Open a listening socket; IPv6 if the host is an IPv6 address.

    Raises:
        OSError: the address is in use or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    native = socket.create_server((host, port), family=family, backlog=BACKLOG)
    return gevent.socket.socket(family, fileno=native.detach())


class Handler(WSGIHandler):  # type: ignore[misc]  # gevent's classes have no types
    """One connection."""

    server: Server
    headers: HeaderFields
    wsgi_input: Body
    status: str | None
    request_id = "-"
    deadline = 0.0
    _unsent: bytearray | None = None

    def __init__(self, sock: Any, address: Any, server: Server) -> None:
        self._patience = HEADER_SECONDS
        self._wire = FairReader(sock.makefile("rb", 0))
        super().__init__(sock, address, server, rfile=io.BufferedReader(self._wire))

    def handle(self) -> None:
        """Serve requests until the connection ends."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # who sent no HTTP may be gone before the answer says so
            super().handle()

    def read_requestline(self) -> str:
        """Wait for the next request, as long as an idle connection may stay open."""
        waiting = gevent.getcurrent()
        self.server.idle[waiting] = self
        seconds = STOPPING_SECONDS if self.server.stopping else self._patience
        try:
            with gevent.Timeout(seconds, TimeoutError()):
                line: str = super().read_requestline()
                return line
        finally:
            self.server.idle.pop(waiting, None)
            self._patience = IDLE_SECONDS

    def read_request(self, raw_requestline: str) -> bool:
        """Read the headers, which must arrive soon."""
        with gevent.Timeout(HEADER_SECONDS, RequestTimeout("the headers took too long")):
            read = bool(super().read_request(raw_requestline))
        self._check_framing()
        return read

    def MessageClass(self, file: IO[bytes], _: int) -> HeaderFields:  # noqa: N802 - gevent's name
        """Read the headers; see ``read_fields``."""
        return read_fields(file)

    def _headers(self) -> Iterator[tuple[str, str]]:
        return self.headers.environ()

    def _check_framing(self) -> None:
        """Refuse bodies whose end a proxy could see elsewhere than gevent does."""
        codings = self.headers.get_all("transfer-encoding")
        lengths = self.headers.get_all("content-length")
        if codings and [coding.lower() for coding in codings] != ["chunked"]:
            raise ValueError("a transfer coding other than chunked")
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]+", length) for length in lengths):
            raise ValueError("a content length that is not one number")

    def handle_one_request(self) -> Any:
        """Serve a request; what is no HTTP is answered with a problem, too."""
        self.command, self.path = "-", "-"
        self.environ: dict[str, Any] = {}
        self.status = self._orig_status = None
        self.request_id = f"{random.getrandbits(64):016x}"
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
        self.deadline = time.monotonic() + self.server.request_seconds
        self.wsgi_input = Body(self.wsgi_input, self._wire, self.deadline, self.server.budget)
        environ["wsgi.input"] = self.wsgi_input
        environ[CLIENT] = self
        return environ

    @property
    def is_new(self) -> bool:
        """Whether no request has come over this connection yet."""
        return self._patience == HEADER_SECONDS

    def is_connected(self) -> bool:
        """Return whether the client still waits; for any thread, while a request is served."""
        return self._peek() != b""

    def hold(self, count: int) -> None:
        """Count bytes that are kept in memory until the request is answered; see ``Body.hold``."""
        self.wsgi_input.hold(count)

    @contextmanager
    def while_connected(self) -> Iterator[None]:
        """Break a block of the request's greenlet off as soon as the client leaves.

        A client that has sent more than the request is not watched: what comes after that, its
        end included, cannot be seen before it is read.

        Raises:
            ClientGone: in the block, at any place where it waits.
        """
        waiting = gevent.getcurrent()

        def look() -> None:
            watcher.stop()
            if not self.is_connected():
                waiting.throw(ClientGone())

        with gevent.get_hub().loop.io(self.socket.fileno(), READABLE) as watcher:
            watcher.start(look)
            yield

    def has_data(self) -> bool:
        """Say whether the client has sent something that nobody has read yet."""
        return bool(self._peek())

    def _peek(self) -> bytes | None:
        """Look at the next byte; None if there is none yet, nothing if there will be none."""
        try:
            # gevent's own methods belong to its loop; those of the socket below to any thread.
            looked: bytes = self.socket._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except (OSError, AttributeError):
            return b""
        return looked

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
        self._sendall(bytes(unsent))

    def _sendall(self, data: bytes) -> None:
        if self._unsent is not None:
            self._unsent += data
            return
        gone = BrokenPipeError(errno.EPIPE, "the client does not read its answer")
        with gevent.Timeout(SEND_SECONDS, gone):
            super()._sendall(data)

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
        request_seconds: how long a request may take, from its head to its answer.
        budget: of the memory that bodies may take together.
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
        self.idle: dict[gevent.Greenlet, Handler] = {}
        self.stopping = False

    @property
    def url(self) -> str:
        """Where to find it."""
        host, port = self.address[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def do_handle(self, *args: Any) -> None:
        """Serve a new connection; if they get scarce, the one that idles longest makes room."""
        if self.pool.free_count() <= SPARE_CONNECTIONS:
            longest = itertools.islice(self.idle.items(), LOOKED_AT)
            if found := next((who for who, handler in longest if not handler.has_data()), None):
                del self.idle[found]
                found.kill(block=False)
        super().do_handle(*args)

    def finish(self, until: float) -> bool:
        """Stop listening and finish the requests that were accepted.

        Args:
            until: ``time.monotonic()`` at which they are broken off.

        Returns:
            Whether all of them were finished.
        """
        self.stopping = True
        self._accept_the_last()
        self.close()
        # Who has just connected may be about to send; between two requests clients expect the end.
        self._end_idle(new=False)
        if not self.pool.join(timeout=STOPPING_SECONDS):
            self._end_idle(new=True)
        finished = bool(self.pool.join(timeout=max(0.0, until - time.monotonic())))
        self.pool.kill()
        return finished

    def _end_idle(self, *, new: bool) -> None:
        """End connections that idle, new ones too or not; a request that is there is still read."""
        gevent.killall(
            [
                greenlet
                for greenlet, handler in self.idle.items()
                if (new or not handler.is_new) and not handler.has_data()
            ]
        )

    def _accept_the_last(self) -> None:
        """Take the connections that the kernel has accepted: closing would reset them."""
        while not (self.closed or self.pool.full()) and (accepted := self.do_read()):
            self.do_handle(*accepted)
