"""The health check of the image, against real servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.publisher import Publisher, publishing
from yolo_service.http.healthcheck import reachable


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing({"readyz": b"{}"}) as running:
        yield running


def check(port: str, variable: str = "YOLO_PORT", **environment: str) -> int:
    command = [sys.executable, "-m", "yolo_service.http.healthcheck"]
    given = {variable: port, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(command, env=given, check=False).returncode


@pytest.mark.parametrize("variable", ["YOLO_PORT", "PORT"])
def test_a_service_that_is_ready_is_healthy(publisher: Publisher, variable: str) -> None:
    assert check(publisher.url.rsplit(":", 1)[1], variable) == 0
    assert publisher.asked[0][0] == "/readyz"


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost", ""])
def test_the_address_that_the_service_listens_on_is_asked(publisher: Publisher, host: str) -> None:
    assert check(publisher.url.rsplit(":", 1)[1], YOLO_HOST=host) == 0


def test_another_address_is_not_asked(publisher: Publisher) -> None:
    assert check(publisher.url.rsplit(":", 1)[1], YOLO_HOST="127.0.0.2") == 1


@pytest.mark.parametrize(
    ("host", "address"),
    [("::", "::1"), ("0:0::0", "::1"), ("fd00::1", "fd00::1"), ("0.0.0.0", "127.0.0.1")],
)
def test_a_wildcard_address_is_asked_at_the_loopback_of_its_family(host: str, address: str) -> None:
    assert reachable(host) == address


def test_a_service_that_is_loading_is_unhealthy(publisher: Publisher) -> None:
    publisher.statuses = [503]
    assert check(publisher.url.rsplit(":", 1)[1]) == 1


def test_a_port_without_a_service_is_unhealthy() -> None:
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
