"""Where a file of a model is read from, at a position: web servers and S3."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from yolo_service import s3
from yolo_service.errors import StoreError

USER_AGENT = "yolo-service (Darknet model client)"
TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up."""
MAX_PAUSE = 60.0
"""Longest pause in seconds that Retry-After is followed for."""

_CHUNK = 1 << 18
_RETRIED = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_URL = re.compile(r"(https?|s3)://")


class RefusedError(Exception):
    """The file cannot be had from this address; the next one may have it."""


class RetryError(Exception):
    """The connection failed; the same address may work after ``pause`` seconds.

    Attributes:
        pause: seconds.
        is_stale: whether the part that was to be continued is of another file.
    """

    def __init__(self, message: str, pause: float = 0.0, *, is_stale: bool = False) -> None:
        super().__init__(message)
        self.pause, self.is_stale = pause, is_stale


@dataclass(frozen=True)
class Body:
    """The bytes of a file from a position on.

    Attributes:
        start: position of the first byte: the one that was asked for, or 0.
        total: length of the whole file; None: not known.
        tag: entity tag with which the rest can be asked for later; None: that is not possible.
        chunks: the bytes; raises RetryError.
    """

    start: int
    total: int | None
    tag: str | None
    chunks: Iterator[bytes]


OpenBody = Callable[[str, int, str], AbstractContextManager[Body]]
"""Opens (address, position, entity tag that the file has to have); raises RefusedError, RetryError.

With another tag the file begins at 0."""


def is_url(place: str) -> bool:
    """Return whether a place is an address, not a path."""
    return _URL.match(place) is not None


def opener(url: str) -> OpenBody:
    """Return what opens an address."""
    return _open_s3 if s3.is_s3(url) else _open_http


@contextmanager
def _open_s3(url: str, start: int, tag: str) -> Iterator[Body]:
    try:
        with s3.open_object(s3.parse(url), start, tag) as found:
            yield Body(found.start, found.total, found.tag, found.chunks)
    except StoreError as error:
        if error.may_pass or error.is_changed:
            raise RetryError(str(error), is_stale=error.is_changed) from error
        raise RefusedError(str(error)) from error


@contextmanager
def _open_http(url: str, start: int, tag: str) -> Iterator[Body]:
    ranges = {"Range": f"bytes={start}-", "If-Range": tag} if start else {}
    with _request(url, ranges) as response:
        resumes = response.status == 206
        if resumes and not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            raise RetryError("answered another range than the one requested", is_stale=True)
        begin, total = start if resumes else 0, _length(response)
        found = response.headers["ETag"]
        is_strong = found and not found.startswith("W/")  # no ranges (RFC 9110, 13.1.5)
        total = None if total is None else begin + total
        yield Body(begin, total, found if is_strong else None, _chunks(response))


def _request(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"} | headers
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - callers pass http(s)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            raise _status_error(error) from error
    except (OSError, http.client.HTTPException) as error:
        raise RetryError(f"no answer: {getattr(error, 'reason', None) or error}") from error
    if url.startswith("https:") and not response.url.startswith("https:"):
        response.close()
        raise RefusedError(f"was redirected to {response.url}, which is not encrypted")
    return response  # type: ignore[no-any-return] # typeshed gives urlopen no better type


def _status_error(error: urllib.error.HTTPError) -> Exception:
    message = f"answered {error.code} {error.reason}"
    if error.code not in _RETRIED:
        return RefusedError(message)
    after = error.headers.get("Retry-After", "")
    pause = min(float(after), MAX_PAUSE) if after.isdecimal() else 0.0
    return RetryError(message, pause, is_stale=error.code == 416)  # the part does not fit


def _length(response: http.client.HTTPResponse) -> int | None:
    length = response.headers["Content-Length"]
    return int(length) if length and length.isdecimal() else None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body in chunks; errors of the network are retried, those of the disk are not."""
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise RetryError(f"the connection broke: {error or type(error).__name__}") from error
        if not chunk:
            return
        yield chunk
