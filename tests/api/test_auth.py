"""API keys, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.contract import CONTRACT
from tests.support.fixtures import BOUNDARY, Answer, Client, ServerProcess, multipart, start_process

KEY = "correct-horse-battery-staple"
OPEN = {
    "/healthz",
    "/readyz",
    "/ping",
    "/ping/",
    "/hc/",
    "/v1/status/ping",
    "/v1/status/version",
    "/v1/status/updateavailable",
    "/v2/health/live",
    "/v2/health/ready",
}
"""Routes of health checks and versions, which need no key."""

OPERATIONS = [(path, method) for path, methods in CONTRACT["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def locked(models: Path) -> Iterator[ServerProcess]:
    """A server that asks for a key, and keeps it to itself."""
    process = start_process({"YOLO_MODELS_DIR": str(models), "YOLO_API_KEY": KEY})
    process.wait_until_ready()
    yield process
    assert process.stop() == 0
    assert KEY not in "".join(process.log)


@pytest.fixture
def stranger(locked: ServerProcess) -> Iterator[Client]:
    client = locked.client()
    yield client
    client.close()


def ask(client: Client, path: str, method: str, headers: dict[str, str]) -> Answer:
    path = path.replace("{model}", "a-tiny")
    if method == "get":
        return client.get(path, **headers)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    field = "image" if path.startswith("/v1") else "image_file"
    return client.request("POST", path, multipart([(field, b"x")]), {**kind, **headers})


def test_the_contract_states_the_key_that_is_needed(stranger: Client) -> None:
    served = stranger.get("/openapi.json").json
    assert served["security"] == CONTRACT["security"] == [{"ApiKey": []}, {"Bearer": []}]
    for path, method in OPERATIONS:
        stated = served["paths"][path][method].get("security")
        assert stated == CONTRACT["paths"][path][method].get("security")


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_only_routes_of_health_checks_are_served_without_a_key(
    stranger: Client, path: str, method: str
) -> None:
    assert (ask(stranger, path, method, {}).status == 401) is (path not in OPEN)
    for wrong in ({"X-API-Key": KEY[:-1]}, {"Authorization": f"Bearer {KEY}x"}):
        assert (ask(stranger, path, method, wrong).status == 401) is (path not in OPEN)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_the_key_is_accepted_in_either_header(
    stranger: Client, path: str, method: str, header: str
) -> None:
    right = {header: KEY if header == "X-API-Key" else f"Bearer {KEY}"}
    assert ask(stranger, path, method, right).status != 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": ""},
        {"X-API-Key": "\xff" * 100},
        {"X-API-Key": "k" * 8000},
        {"X-API-Key": KEY.upper()},
        {"Authorization": KEY},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": "Basic " + "A" * 100},
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer \xfc"},
    ],
)
def test_anything_but_the_key_is_answered_401(stranger: Client, headers: dict[str, str]) -> None:
    answer = stranger.get("/models", **headers)
    assert answer.status == 401, answer.body
    assert answer.json["type"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_is_asked_for_before_the_body_is_looked_at(stranger: Client) -> None:
    head = {"Content-Type": "text/plain"}
    assert stranger.request("POST", "/detect", b"no form", head).status == 401


def test_a_key_is_asked_for_before_the_body_has_come(locked: ServerProcess) -> None:
    head = (
        "POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", locked.port), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_service_for_this_machine_only_needs_no_key(server: ServerProcess) -> None:
    assert not any("no API key" in line for line in server.log)


def test_a_service_for_others_without_a_key_says_so(models: Path) -> None:
    process = start_process({"YOLO_MODELS_DIR": str(models), "YOLO_HOST": "0.0.0.0"})
    process.wait_for("no API key is set: everybody who reaches http://0.0.0.0:")
    assert process.stop() == 0


def test_a_service_for_others_with_a_key_does_not_warn(models: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    settings = {"YOLO_MODELS_DIR": str(models), "YOLO_HOST": "::", "YOLO_API_KEY": KEY}
    process = start_process(settings)
    process.wait_for("serving ")
    assert process.stop() == 0
    assert not any("no API key" in line for line in process.log)
