"""The WSGI application: the routes of swagger.yaml around a service."""

from __future__ import annotations

import io
from typing import IO, Any

import flask
import yaml
from werkzeug.exceptions import MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.utils import cached_property

from yolo_service.api import errors, metrics
from yolo_service.api.client import CLIENT, Client
from yolo_service.api.operations import HANDLERS
from yolo_service.api.service import EXTENSION, Service
from yolo_service.http.admission import Admission
from yolo_service.http.content_coding import decoded
from yolo_service.http.cors import Cors
from yolo_service.http.forms import FormParser
from yolo_service.http.pages import add_pages
from yolo_service.http.routing import Api, FlaskApp, Resolver
from yolo_service.package_data import CONTRACT
from yolo_service.settings import Settings


class Request(flask.Request):
    """A request whose uploads stay in memory: they are small, and files block the loop.

    A form's field without a value counts as not sent: browsers send fields that are not filled in.
    """

    form_data_parser_class = FormParser

    @cached_property
    def stream(self) -> IO[bytes]:
        """The content of the body; empty for GET and HEAD: connexion would wait for it."""
        if self.method in {"GET", "HEAD"}:
            return io.BytesIO()
        client = self.environ.get(CLIENT) or Client()
        coding = self.headers.get("Content-Encoding", "")
        return decoded(self._sent_body(), coding, self.max_content_length, client.hold)

    def _sent_body(self) -> IO[bytes]:
        if (length := self.content_length) is None:
            return super().stream
        if length > (self.max_content_length or length):
            raise RequestEntityTooLarge
        # Werkzeug's wrapper copies every byte twice; the server itself ends what has a length.
        return self.input_stream

    def _load_form_data(self) -> None:
        super()._load_form_data()
        filled = [(name, value) for name, value in self.form.items(multi=True) if value]
        self.__dict__["form"] = self.parameter_storage_class(filled)


def create_app(service: Service) -> FlaskApp:
    """Make the WSGI application; it also works without a server, for example in tests."""
    options = {"swagger_ui": False}  # see ``pages``
    server_args = {"static_folder": None}
    app = FlaskApp(__name__, skip_error_handlers=True, server_args=server_args, options=options)
    app.api_cls = Api
    app.app.request_class = Request
    app.app.json.sort_keys = False  # /openapi.json and so /ui/ keep the order of swagger.yaml
    app.app.extensions[EXTENSION] = service
    app.app.config["MAX_CONTENT_LENGTH"] = service.settings.max_upload_bytes
    app.app.config["MAX_FORM_PARTS"] = 50
    app.app.before_request(metrics.remember_route)
    app.app.before_request(_refuse_costly_head)
    app.app.before_request(_refuse_double_slash)
    app.app.register_error_handler(Exception, errors.respond)
    add_pages(app.app, page=service.settings.page)
    app.add_api(_contract(service.settings), base_path="/", resolver=Resolver(HANDLERS.__getitem__))
    raise_if_full = service.predictor.queue.raise_if_full
    app.app.wsgi_app = Admission(app.app.wsgi_app, app.app.url_map, raise_if_full)
    if origins := service.settings.cors_origins:
        app.app.wsgi_app = Cors(app.app.wsgi_app, origins)
    return app


def _contract(settings: Settings) -> dict[str, Any]:
    """Read swagger.yaml; its security is optional where no key is set."""
    # The parser in Python would take a tenth of a second.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    contract: dict[str, Any] = yaml.load(CONTRACT.read_text(encoding="utf-8"), loader)  # noqa: S506 - both are safe
    if settings.api_key is None:
        contract["security"].insert(0, {})
        for path, operations in contract["paths"].items():
            for operation in operations.values():
                security = operation.get("security")
                if security and not (path == "/p/" and settings.ml_api_token):
                    security.insert(0, {})
    return contract


def _refuse_double_slash() -> None:
    """Refuse ``//metrics``, which Werkzeug takes for ``/metrics`` and a proxy's rules may not."""
    if flask.request.environ["PATH_INFO"].startswith("//"):
        raise NotFound


def _refuse_costly_head() -> None:
    """Refuse HEAD with a query: Flask answers it like GET, inference included, but for the body."""
    request = flask.request
    if request.method == "HEAD" and request.query_string and request.url_rule is not None:
        raise MethodNotAllowed(valid_methods=(request.url_rule.methods or set()) - {"HEAD"})
