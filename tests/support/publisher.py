"""A web server that publishes files with ranges, entity tags and, on request, failures."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Publisher:
    """The files of a server, its next failures, and the requests that it got.

    Attributes:
        url: of the server, without a final slash.
        files: contents by path.
        statuses: status codes of the next responses, instead of the file.
        redirect: location that every request is redirected to instead.
        cut: numbers of bytes after which the bodies of the next responses end.
        tags: whether responses have an entity tag, without which nothing can be resumed.
        lengths: whether responses have a Content-Length.
        ignores_ranges: whether the whole file is sent for every range.
        asked: (path, headers in lower case) of every request.
        gates: events that responses wait for in the middle of their bodies, by path.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    redirect: str | None = None
    cut: list[int] = field(default_factory=list)
    tags: bool = True
    lengths: bool = True
    ignores_ranges: bool = False
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gates: dict[str, threading.Event] = field(default_factory=dict)

    def ranges(self) -> list[str | None]:
        """The Range header of every request."""
        return [headers.get("range") for _, headers in self.asked]


@contextmanager
def publishing(
    files: dict[str, bytes] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Publisher]:
    """Serve files, by name, on a free port of the loopback."""
    publisher = Publisher(files={f"/{name}": data for name, data in (files or {}).items()})

    class Handler(_Handler):
        source = publisher

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    publisher.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield publisher
    finally:
        for gate in publisher.gates.values():
            gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    source: Publisher

    def do_GET(self) -> None:
        source = self.source
        headers = {name.lower(): value for name, value in self.headers.items()}
        source.asked.append((self.path, headers))
        if source.redirect:
            self._fail(302, source.redirect)
        elif source.statuses:
            self._fail(source.statuses.pop(0))
        elif self.path not in source.files:
            self._fail(404)
        else:
            self._send(source.files[self.path], headers)

    def _fail(self, status: int, location: str | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes, headers: dict[str, str]) -> None:
        source = self.source
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = self._start(headers, tag)
        if start and start >= len(data):
            self._fail(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if source.tags:
            self.send_header("ETag", tag)
        if source.lengths:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self._body(data[start:])

    def _start(self, headers: dict[str, str], tag: str) -> int:
        asked = headers.get("range", "")
        if not asked or self.source.ignores_ranges or headers.get("if-range", tag) != tag:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _body(self, data: bytes) -> None:
        if self.source.cut:
            data = data[: self.source.cut.pop(0)]
        self.wfile.write(data[: len(data) // 2])
        if gate := self.source.gates.get(self.path):
            gate.wait(10)
        self.wfile.write(data[len(data) // 2 :])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the tests' output clean."""
