"""Whether the process lives, and whether it is ready for requests."""

from __future__ import annotations

from flask import Response, jsonify

from yolo_service import service
from yolo_service.errors import Unavailable


def alive() -> Response:
    """Answer as long as the loop turns."""
    return jsonify(status="ok")


def ready() -> Response:
    """Answer once the default model is loaded."""
    if not service.current().ready:
        raise Unavailable("the default model is not loaded yet; try again soon")
    return jsonify(status="ready")
