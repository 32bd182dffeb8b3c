"""Pages for people: Swagger UI at ``/ui/``, to which ``/`` leads."""

from __future__ import annotations

import flask
from flask import Response
from swagger_ui_bundle import swagger_ui_path
from werkzeug.wrappers import Response as Redirection

from yolo_service.package_data import WEB


def add_pages(app: flask.Flask) -> None:
    """Add the routes that are not part of the contract; they need no API key."""
    app.add_url_rule("/", view_func=home)
    app.add_url_rule("/ui/", view_func=ui)
    app.add_url_rule("/ui/<path:name>", view_func=ui_file)


def home() -> Redirection:
    """Lead to the page, for as long as there is no other one."""
    return flask.redirect("ui/")


def ui() -> Response:
    """Return the page that shows every route and sends requests."""
    return flask.send_from_directory(WEB, "ui.html")


def ui_file(name: str) -> Response:
    """Return a script, a style or an icon of Swagger UI."""
    return flask.send_from_directory(swagger_ui_path, name)
