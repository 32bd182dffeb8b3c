from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.wsgi import Application, Start
from yolo_service.http.server import Server, listen
from yolo_service.http.streams import Budget


@pytest.fixture
def start() -> Iterator[Start]:
    """Start WSGI servers in the test's own process; a request may take ``request_seconds``."""
    started: list[Server] = []

    def start(application: Application, request_seconds: float = 0.2) -> Server:
        server = Server(listen("127.0.0.1", 0), application, request_seconds, Budget(1_000_000))
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.finish(time.monotonic() + 1)
