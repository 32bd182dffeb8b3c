"""Whether the process lives, and whether it is ready for requests."""

from __future__ import annotations

from flask import Response, jsonify

from yolo_service.api import service


def alive() -> Response:
    """Answer as long as the loop turns."""
    return jsonify(status="ok")


def ready() -> Response:
    """Answer while requests for the default model can be expected to succeed."""
    service.current().check_ready()
    return jsonify(status="ready")
