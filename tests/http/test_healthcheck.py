"""The health check of the container image, against real servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.publisher import Publisher, publishing
from yolo_service.http.healthcheck import reachable


class Ipv6Server(HTTPServer):
    """A server whose wildcard address takes no IPv4 connections."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


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


@pytest.mark.parametrize("host", ["::", "::1"])
def test_a_service_that_listens_on_ipv6_only_is_healthy(host: str) -> None:
    try:
        server = Ipv6Server((host, 0), Ready)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert check(str(server.server_port), YOLO_HOST=host) == 0
        assert check(str(server.server_port), YOLO_HOST="127.0.0.1") == 1
        server.shutdown()
        thread.join()


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
