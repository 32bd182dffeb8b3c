"""Web servers for the tests of downloads: real sockets, answers written byte by byte."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent.server
import gevent.ssl

from yolo_service.http.fetch import AddressInfo

Handler = Callable[[Any], None]


@dataclass
class Site:
    """A web server on a loopback address whose answers are written byte by byte."""

    host: str = "127.0.0.1"
    tls: gevent.ssl.SSLContext | None = None
    routes: dict[str, Handler] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Site]:
        self.server = gevent.server.StreamServer((self.host, 0), self._serve)
        self.server.start()
        try:
            yield self
        finally:
            self.server.stop()

    @property
    def port(self) -> int:
        return int(self.server.server_port)

    def url(self, path: str = "/", host: str = "") -> str:
        return f"{'https' if self.tls else 'http'}://{host or self.host}:{self.port}{path}"

    def on(self, path: str, head: str, *body: bytes) -> str:
        """Answer a path with the lines of a head and the pieces of a body; return its URL."""
        answer = head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + b"".join(body)
        return self.handle(path, lambda connection: connection.sendall(answer))

    def handle(self, path: str, handler: Handler) -> str:
        self.routes[path] = handler
        return self.url(path)

    def _serve(self, connection: Any, _: object) -> None:
        with contextlib.suppress(OSError):  # the client may leave whenever it likes
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            if head := connection.recv(65_536).decode():
                self.requests.append(head)
                self.routes[head.split()[1].split("?")[0]](connection)
        connection.close()


def resolver(*answers: list[tuple[str, int]]) -> Callable[..., list[AddressInfo]]:
    """A look-up that answers the next list of (address, port) each time, then fails."""
    remaining = list(answers)

    def resolve(host: str, port: int, **_: object) -> list[AddressInfo]:
        if not remaining:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [_info(address, port) for address, port in remaining.pop(0)]

    return resolve


def _info(address: str, port: int) -> AddressInfo:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (address, port))
