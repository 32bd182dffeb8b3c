"""Admission control: while the queue is full, requests with images are answered 503 at once.

This comes before the application, so it costs neither Flask's contexts nor reading the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from yolo_service.api import errors
from yolo_service.errors import Overloaded
from yolo_service.metrics import ROUTE

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class Admission:
    """A WSGI application in front of another one."""

    def __init__(
        self, application: Application, routes: Map, raise_if_full: Callable[[], None]
    ) -> None:
        self._application, self._raise_if_full = application, raise_if_full
        self._routes = routes.bind("")

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        try:
            self._raise_if_full()
        except Overloaded as error:
            if route := self._route_of_image(environ):
                environ[ROUTE] = route
                refusal = errors.in_format_of(environ["PATH_INFO"], error)
                return refusal(environ, start_response)
        return self._application(environ, start_response)

    def _route_of_image(self, environ: Environ) -> str | None:
        """Return the route of a request that may have an image: in its body, or as a URL."""
        method = environ["REQUEST_METHOD"]
        if not (method == "POST" or (method == "GET" and environ["QUERY_STRING"])):
            return None
        try:
            rule, _ = self._routes.match(environ["PATH_INFO"], method, return_rule=True)
        except HTTPException:
            return None
        return str(rule.rule)
