"""Cross-origin resource sharing: whether pages of other origins may read the answers.

Browsers keep answers from pages of another origin unless the answer allows that origin, and they
ask before they send a key or JSON (the preflight request). No answer allows credentials: a key is
sent in a header by the page itself, never by the browser as cookies are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Any], Iterable[bytes]]

ANY = "*"

PREFLIGHT_SECONDS = 7200
"""How long a browser may remember a preflight's answer; the most that Chromium takes."""

_EXPOSED = "Inference-Header-Content-Length, Retry-After, X-Request-ID"
_METHODS = "GET, HEAD, POST"


class Cors:
    """A WSGI application in front of another one, whose answers it allows pages to read.

    Errors are allowed, too, or a page could not tell them from a lost connection; and preflight
    requests are answered here, because they carry no key.

    Args:
        application: the other one.
        origins: those that are allowed, or ``*`` for any.
    """

    def __init__(self, application: Application, origins: Collection[str]) -> None:
        self._application, self._origins = application, frozenset(origins)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        allowed = self._allowed(environ.get("HTTP_ORIGIN"))
        method = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
        if allowed and method and environ["REQUEST_METHOD"] == "OPTIONS":
            start_response("204 No Content", [*allowed, *_preflight(environ), *self._vary])
            return [b""]

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *allowed, *self._vary], exc_info)

        return self._application(environ, start)

    def _allowed(self, origin: str | None) -> Headers:
        """Return the headers that allow an origin; none if it is not allowed."""
        value = ANY if ANY in self._origins else origin
        if origin is None or value not in {ANY, *self._origins}:
            return []
        return [
            ("Access-Control-Allow-Origin", value),
            ("Access-Control-Expose-Headers", _EXPOSED),
        ]

    @property
    def _vary(self) -> Headers:
        """The header that keeps caches from giving one origin's answer to another one."""
        return [] if ANY in self._origins else [("Vary", "Origin")]


def _preflight(environ: Environ) -> Headers:
    """Return what a page may send: any header that it names; unknown ones change nothing here."""
    headers = [
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
    ]
    if wanted := environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS"):
        headers.append(("Access-Control-Allow-Headers", wanted))
    return headers


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return those headers of a response that belong to an error sent in its place, too."""
    return [
        (name.decode(), value.decode("latin-1"))
        for name, value in headers
        if name.startswith((b"Access-Control-", b"Vary"))
    ]
