"""Checks of HTTP answers, and of the metrics of a server."""

from __future__ import annotations

import re
import time

from tests.support.fixtures import Answer, ServerProcess

SECONDS = 60
"""How long a metric may take to get its value."""


def problem(answer: Answer, status: int, words: str) -> None:
    """Check that an answer is a problem document whose detail contains these words."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == status
    assert words in document["detail"]
    assert "Traceback" not in document["detail"]


def metrics(server: ServerProcess, key: str = "") -> str:
    """Return what ``/metrics`` answers."""
    client = server.client()
    text = client.get("/metrics", **({"X-API-Key": key} if key else {})).body.decode()
    client.close()
    return text


def wait_for_metric(server: ServerProcess, name: str, value: int, key: str = "") -> None:
    """Wait until a metric without labels has a value."""
    end = time.monotonic() + SECONDS
    while not re.search(rf"^{name} {value}\.0$", metrics(server, key), re.MULTILINE):
        assert time.monotonic() < end, f"{name} never became {value}"
        time.sleep(0.02)
