"""What Prometheus scrapes, and what only the application knows about a request."""

from __future__ import annotations

import functools

import flask
from flask import Response
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from yolo_service.api import service
from yolo_service.metrics import ROUTE


def scrape() -> Response:
    """Write all metrics; in a native thread, because thousands of series take their time."""
    body = service.current().scrape(functools.partial(generate_latest, REGISTRY))
    return Response(body, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def remember_route() -> None:
    """Tell the server which pattern the address fits; Flask calls this before every request."""
    if rule := flask.request.url_rule:
        flask.request.environ[ROUTE] = rule.rule
