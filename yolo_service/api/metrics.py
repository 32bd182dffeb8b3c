"""The metrics that Prometheus scrapes, and the route of a request for them."""

from __future__ import annotations

import flask
from flask import Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from yolo_service.api import service
from yolo_service.metrics import ROUTE


def scrape() -> Response:
    """Return all metrics in Prometheus's text format."""
    return Response(service.current().scrape(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def remember_route() -> None:
    """Put the route into the WSGI environment; Flask calls this before every request."""
    if rule := flask.request.url_rule:
        flask.request.environ[ROUTE] = rule.rule
