"""Errors in the format of the interface that was called; problem+json where it has none."""

from __future__ import annotations

from collections.abc import Callable

import flask
from flask import Response

from yolo_service.api import deepstack, inference_protocol, obico, problems

_FORMATS: dict[str, Callable[[Exception], Response]] = {
    "/p": obico.error,
    "/v1": deepstack.error,
    "/v2": inference_protocol.error,
}


def respond(error: Exception) -> Response:
    """Answer a request with the error of an exception; Flask's error handler."""
    return in_format_of(flask.request.path, error)


def in_format_of(path: str, error: Exception) -> Response:
    """Return the error of an exception in the format of the interface at a path."""
    first = "/" + path.split("/", 2)[1]
    return _FORMATS.get(first, problems.respond)(error)
