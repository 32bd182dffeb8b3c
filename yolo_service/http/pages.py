"""Pages for people: ``/``, which shows detections in images, and Swagger UI at ``/ui/``.

The files of ``/`` are below ``/web/``. Its policies let it load nothing from elsewhere, and let
WebAssembly use threads.
"""

from __future__ import annotations

from pathlib import Path

import flask
from flask import Response
from swagger_ui_bundle import swagger_ui_path
from werkzeug.security import safe_join
from werkzeug.wrappers import Response as Redirection

from yolo_service.package_data import CATALOG, WEB

_TYPES = {".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript"}
_TYPES |= {".wasm": "application/wasm", ".svg": "image/svg+xml", ".jpg": "image/jpeg"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob:; "
        "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'self'"
    ),
    # Threads need memory that is shared, which browsers allow a page that is isolated like this.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SAMPLE = CATALOG / "blood-cells" / "sample.jpg"


def add_pages(app: flask.Flask, *, page: bool) -> None:
    """Add the routes that are not part of the contract; they need no API key.

    Args:
        app: the application.
        page: whether ``/`` is the page; else it leads to ``/ui/``.
    """
    app.add_url_rule("/ui/", view_func=ui)
    app.add_url_rule("/ui/<path:name>", view_func=ui_file)
    app.add_url_rule("/", view_func=home if page else to_ui)
    if page:
        app.add_url_rule("/web/<path:name>", view_func=web_file)
        app.add_url_rule("/web/sample.jpg", view_func=sample)


def to_ui() -> Redirection:
    """Lead to Swagger UI."""
    return flask.redirect("ui/")


def home() -> Response:
    """Return the page that shows detections."""
    return _isolated(flask.send_from_directory(WEB, "index.html"))


def web_file(name: str) -> Response:
    """Return a script or style of the page, or a part of the runtime for browsers.

    Large files are installed compressed, which every browser takes.
    """
    kind = _TYPES.get(Path(name).suffix)
    compressed = safe_join(str(WEB), f"{name}.gz")
    is_compressed = compressed is not None and Path(compressed).is_file()
    found = f"{name}.gz" if is_compressed else name
    answer = _isolated(flask.send_from_directory(WEB, found, mimetype=kind))
    if is_compressed:
        answer.headers["Content-Encoding"] = "gzip"
    return answer


def sample() -> Response:
    """Return the sample image of the bundled model."""
    return _isolated(flask.send_file(_SAMPLE))


def _isolated(answer: Response) -> Response:
    answer.headers.extend(_HEADERS)
    return answer


def ui() -> Response:
    """Return the page that shows every route and sends requests."""
    return flask.send_from_directory(WEB, "ui.html")


def ui_file(name: str) -> Response:
    """Return a script, a style or an icon of Swagger UI."""
    return flask.send_from_directory(swagger_ui_path, name)
