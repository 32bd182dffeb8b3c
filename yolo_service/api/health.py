"""Routes for liveness and readiness probes."""

from __future__ import annotations

from flask import Response, jsonify

from yolo_service.api import service


def alive() -> Response:
    """Answer 200 while the event loop runs."""
    return jsonify(status="ok")


def ready() -> Response:
    """Answer 200 while the default model works, else 503."""
    service.current().check_ready()
    return jsonify(status="ready")
