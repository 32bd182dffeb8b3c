"""Checks of HTTP answers."""

from __future__ import annotations

from tests.support.fixtures import Answer


def problem(answer: Answer, status: int, words: str) -> None:
    """Check that an answer is a problem document whose detail contains these words."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == status
    assert words in document["detail"]
    assert "Traceback" not in document["detail"]
