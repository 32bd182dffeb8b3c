"""The log: whole lines whatever comes in, no secrets, and the request that a line belongs to."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fixtures import ServerProcess, StartServer
from yolo_service import logs

KEY = "correct-horse"
SECRETS = (KEY, "battery-staple", "X-Amz-Signature", "c2VjcmV0")


@pytest.fixture
def request_id() -> Iterator[str]:
    token = logs.request_id.set("a-request")
    yield "a-request"
    logs.request_id.reset(token)


def record(message: str, error: Exception | None = None, name: str = "x") -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.ERROR, __file__, 1, "%s", (message,), info)


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


@given(st.text(), st.text())
def test_no_message_begins_a_line_of_a_text_log(message: str, error: str) -> None:
    first, *others = logs.TextLines().format(record(message, raised(error))).split("\n")
    assert all(line.startswith("    ") for line in others)
    assert first.isprintable()
    assert all(line.isprintable() for line in others)


@given(st.text(), st.text())
def test_json_is_one_object_on_one_line_whatever_comes_in(message: str, error: str) -> None:
    text = logs.JsonLines().format(record(message, raised(error)))
    assert text.isascii()
    assert len(text.splitlines()) == 1
    line = json.loads(text)
    assert line["message"] == message
    assert error in line["exception"]
    assert datetime.fromisoformat(line["time"]).tzinfo is not None


def test_a_line_has_the_id_of_its_request(request_id: str) -> None:
    assert logs.TextLines().format(record("failed")) == "failed (request a-request)"
    assert json.loads(logs.JsonLines().format(record("failed")))["request_id"] == request_id


def test_the_access_line_has_the_request_id_once(request_id: str) -> None:
    assert logs.TextLines().format(record(f"GET / {request_id}", name=logs.ACCESS)).count("a-") == 1


def test_a_line_outside_of_requests_has_no_request_id() -> None:
    assert logs.TextLines().format(record("started")) == "started"
    assert "request_id" not in json.loads(logs.JsonLines().format(record("started")))


def served(server: ServerProcess) -> list[str]:
    """Send secrets in every place that a client has, and return what was logged about it."""
    client = server.client()
    client.get("/models", **{"X-API-Key": KEY})
    client.get("/models", Authorization=f"Bearer {KEY}")
    client.get("/models", **{"X-API-Key": "battery-staple"})
    client.get(f"/detect?url=http://127.0.0.1/%3FX-Amz-Signature=1&api_key={KEY}")
    client.get("/detect?url=http://127.0.0.1/?X-Amz-Signature=1", **{"X-API-Key": KEY})
    client.post([("image", b"c2VjcmV0"), ("api_key", KEY)], "/v1/vision/detection")
    client.request("POST", "/invocations", b'{"image": "c2VjcmV0"', {"X-API-Key": KEY})
    client.close()
    assert server.stop() == 0
    return server.log


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_key_no_query_and_no_image_is_logged(start_server: StartServer, style: str) -> None:
    log = served(start_server(api_key=KEY, log_format=style))
    assert sum(" /detect " in line for line in log) == 2
    text = "".join(log)
    assert not [secret for secret in SECRETS if secret in text]


def test_every_line_of_a_json_log_is_an_object(start_server: StartServer) -> None:
    log = served(start_server(api_key=KEY, log_format="json"))
    assert all(isinstance(json.loads(line), dict) for line in log)


@pytest.mark.parametrize(
    "sent", ["", "a b", "a" * 65, "\x1b[31m", "id;DROP", "\xe4", "x\t2026-11-20 INFO forged"]
)
def test_an_invalid_request_id_is_replaced(server: ServerProcess, sent: str) -> None:
    client = server.client()
    answer = client.get("/healthz", **{"X-Request-ID": sent})
    client.close()
    made = answer.headers["X-Request-ID"]
    assert made != sent
    assert len(made) == 16
    server.wait_for(f" {made}$")


def test_a_message_that_cannot_be_encoded_is_escaped() -> None:
    text = logs.TextLines().format(record("\ud800"))
    assert text.encode(sys.stderr.encoding or "utf-8") == b"\\ud800"


@pytest.mark.parametrize(
    "head",
    [
        b"G\x1b[2JET / HTTP/1.1",
        b"GET /a\x0b2026-11-20\x0cINFO HTTP/1.1",
        b"GET /%0a2026-11-20%20INFO HTTP/1.1",
        b"GET /\xe2\x80\xa8\xc2\x85 HTTP/1.1",
        b"\r2026 INFO HTTP/1.1",
    ],
)
def test_no_request_line_forges_a_line_of_the_log(server: ServerProcess, head: bytes) -> None:
    before = len(server.log)
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(head + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(4096), b""))
    name = re.search(rb"X-Request-ID: (\w+)", answer)
    assert name
    server.wait_for(f" {name[1].decode()}$")
    (line,) = server.log[before:]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO 127\.0\.0\.1 ", line)
    assert line.rstrip("\n").isprintable()
