"""Small WSGI applications, and a client in the same event loop as the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from gevent import socket

from yolo_service.http.server import Server

Application = Callable[..., list[bytes]]
Start = Callable[..., Server]

GET = b"GET /path?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class GeventPeer:
    """A client that sends raw bytes and reads HTTP answers, as a greenlet."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> GeventPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> GeventPeer:
        self.socket.sendall(data)
        return self

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read status, headers with names in lower case, and body."""
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers, self.file.read(int(headers["content-length"]))

    def is_closed(self) -> bool:
        """Wait for the end of the connection."""
        return not self.file.read(1)


def check_problem(answer: tuple[int, dict[str, str], bytes], status: int) -> None:
    assert answer[0] == status
    assert answer[1]["content-type"] == "application/problem+json"
    assert answer[1]["x-request-id"]
    assert json.loads(answer[2])["status"] == status
