"""Error responses as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from flask import Response
from werkzeug.exceptions import HTTPException

from yolo_service import metrics
from yolo_service.errors import Overloaded, ServiceError, Unauthorized

log = logging.getLogger(__name__)

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """An error response.

    Attributes:
        status: the HTTP status.
        title: the same for every problem of a type.
        detail: what was wrong, and what to do.
        type: a name for programs; ``about:blank`` if there is none beyond the status.
        headers: of the response.
    """

    status: int
    title: str
    detail: str
    type: str = "about:blank"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The JSON document."""
        members = ("type", "title", "status", "detail")
        return json.dumps({name: getattr(self, name) for name in members}).encode() + b"\n"

    def http(self, request_id: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
        """The whole HTTP response, for requests that do not reach the application."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            f"Content-Type: {MEDIA_TYPE}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            f"X-Request-ID: {request_id}\r\n"
            f"{more}"
            "Connection: close\r\n\r\n"
        )
        return head.encode("latin-1") + self.body


def of_status(status: int, detail: str) -> Problem:
    """Make a problem without a type of its own."""
    return Problem(status, HTTPStatus(status).phrase, detail)


def of_error(error: Exception) -> Problem:
    """Turn any exception into a problem; an unexpected one is logged, not told."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in _EXHAUSTED:
        log.warning("a request needed what the system has not: %s", error or "memory")
        error = Overloaded("the system has no memory or files left for this request; try later")
    if isinstance(error, ServiceError):
        error.drop_traceback()
        metrics.ERRORS.labels(error.type).inc()
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        if error.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return Problem(error.status, error.title, error.detail, error.type, headers)
    if isinstance(error, HTTPException):
        return _of_http_exception(error)
    log.error("unexpected error", exc_info=error)
    return of_status(500, "an error of the service; see its log")


def respond(error: Exception) -> Response:
    """Answer a request with the problem of an exception."""
    problem = of_error(error)
    return Response(problem.body, problem.status, problem.headers, content_type=MEDIA_TYPE)


_ADVICE = {
    404: "no such address; /ui/ shows those there are",
    405: "this address does not take this method; /ui/ shows those it takes",
    413: "the body is larger than YOLO_MAX_UPLOAD_MB, or the form has too many fields",
}


def _of_http_exception(error: HTTPException) -> Problem:
    status = error.code or 500
    if status == HTTPStatus.UNAUTHORIZED:
        return of_error(Unauthorized("send the API key as X-API-Key or Authorization: Bearer"))
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    detail = _ADVICE.get(status) or error.description or HTTPStatus(status).phrase
    return Problem(status, HTTPStatus(status).phrase, detail, headers=headers)
