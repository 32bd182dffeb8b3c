"""The image's health check, against real servers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.publisher import Publisher, publishing


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing({"readyz": b"{}"}) as running:
        yield running


def check(port: str, variable: str = "YOLO_PORT") -> int:
    command = [sys.executable, "-m", "yolo_service.http.healthcheck"]
    return subprocess.run(command, env={variable: port}, check=False).returncode


@pytest.mark.parametrize("variable", ["YOLO_PORT", "PORT"])
def test_a_service_that_is_ready_is_healthy(publisher: Publisher, variable: str) -> None:
    assert check(publisher.url.rsplit(":", 1)[1], variable) == 0
    assert publisher.asked[0][0] == "/readyz"


def test_a_service_that_loads_is_not(publisher: Publisher) -> None:
    publisher.statuses = [503]
    assert check(publisher.url.rsplit(":", 1)[1]) == 1


def test_nobody_listening_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    assert check(port) == 1


def test_it_imports_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, yolo_service.http.healthcheck\n"
        "heavy = {'numpy', 'connexion', 'gevent', 'click', 'pydantic', 'cv2'}\n"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
