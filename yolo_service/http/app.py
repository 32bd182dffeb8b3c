"""The application, and the process that serves it."""

from __future__ import annotations

import gc
import io
import logging
import resource
import signal
import sys
from ipaddress import ip_address
from typing import IO, Any

import flask
import gevent
import yaml
from gevent.event import Event
from werkzeug.exceptions import MethodNotAllowed, RequestEntityTooLarge
from werkzeug.utils import cached_property

from yolo_service import logs, process
from yolo_service.api import errors, metrics
from yolo_service.api.service import EXTENSION, Service
from yolo_service.errors import ConfigurationError, ModelUnavailable
from yolo_service.http.admission import Admission
from yolo_service.http.forms import FormParser
from yolo_service.http.routing import Api, FlaskApp
from yolo_service.http.server import MAX_CONNECTIONS, Server, listen
from yolo_service.models.loaded import LoadedModel
from yolo_service.models.pull import ensure_model
from yolo_service.package_data import CONTRACT
from yolo_service.settings import Settings, load_settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 8.0
"""For requests that run when the process is told to stop; Cloud Run kills after 10 seconds."""


class Request(flask.Request):
    """A request whose uploads stay in memory: they are small, and files block the loop.

    A form's field without a value counts as not sent: browsers, Swagger UI among them, send what
    nobody has filled in.
    """

    form_data_parser_class = FormParser

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body; empty where HTTP gives it no meaning, because connexion would wait for it."""
        if self.method in {"GET", "HEAD"}:
            return io.BytesIO()
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
    """Make the WSGI application: the routes of swagger.yaml around a service."""
    app = FlaskApp(__name__, skip_error_handlers=True, server_args={"static_folder": None})
    app.api_cls = Api
    app.app.request_class = Request
    app.app.extensions[EXTENSION] = service
    app.app.config["MAX_CONTENT_LENGTH"] = service.settings.max_upload_bytes
    app.app.config["MAX_FORM_PARTS"] = 50
    app.app.before_request(metrics.remember_route)
    app.app.before_request(_refuse_costly_head)
    app.app.register_error_handler(Exception, errors.respond)
    # An empty base path breaks the UI; "/" is the same address.
    app.add_api(
        _contract(service.settings),
        base_path="/",
    )
    check_room = service.scheduler.check_room
    app.app.wsgi_app = Admission(app.app.wsgi_app, app.app.url_map, check_room)
    return app


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code of the process."""
    logs.configure(settings.log_format)
    process.tune()
    _raise_limit_of_files()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    try:
        service = Service(settings)
        server = _listen(settings, service)
    except ConfigurationError as error:
        log.error("%s", error)
        return 2
    return _run(server, service, stop)


def main() -> int:
    """Start the service as the environment says; what ``python app.py`` does."""
    try:
        settings = load_settings()
        ensure_model(settings)
        return serve(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log's format is not known yet
        return 2


def _contract(settings: Settings) -> dict[str, Any]:
    """Read swagger.yaml; without an API key it asks for none, but for Obico's where it is set."""
    # The parser in Python would take a tenth of a second.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    contract: dict[str, Any] = yaml.load(CONTRACT.read_text(encoding="utf-8"), loader)  # noqa: S506 - both are safe
    if settings.api_key is None:
        del contract["security"]
        for path, operations in contract["paths"].items():
            for operation in operations.values():
                if not (path == "/p/" and settings.ml_api_token):
                    operation.pop("security", None)
    return contract


def _listen(settings: Settings, service: Service) -> Server:
    host, port = settings.host, settings.port
    try:
        listener = listen(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; set YOLO_HOST, YOLO_PORT"
        ) from error
    server = Server(listener, create_app(service), settings.request_timeout, service.budget)
    server.start()
    log.info("listening on %s", server.url)
    _warn_of_open_doors(settings, server)
    return server


def _warn_of_open_doors(settings: Settings, server: Server) -> None:
    if settings.api_key is None and not ip_address(server.address[0]).is_loopback:
        log.warning(
            "no API key is set: everybody who reaches %s is served; set YOLO_API_KEY, "
            "or YOLO_HOST=127.0.0.1 to serve this machine only",
            server.url,
        )


def _run(server: Server, service: Service, stop: Event) -> int:
    """Load the default model while /healthz answers already, then serve until told to stop."""
    failures: list[ModelUnavailable] = []

    def load() -> None:
        try:
            _announce(service.start(), server)
            # What lives by now lives for ever: looking through it stops the loop for 50 ms.
            gc.collect()
            gc.freeze()
            process.give_back_memory()
        except ModelUnavailable as error:
            log.error("cannot start: %s", error)
            failures.append(error)
            stop.set()

    loading = gevent.spawn(load)
    stop.wait()
    log.info("stopping")
    loading.kill()
    if not server.finish(GRACE_SECONDS):
        log.warning("some requests took more than %g seconds and were broken off", GRACE_SECONDS)
    service.close()
    log.info("stopped")
    return 1 if failures else 0


def _announce(model: LoadedModel, server: Server) -> None:
    network = model.network
    log.info(
        "serving %s with %s on %s in %s; see %s/ui/",
        *(model.name, network.engine_name, network.device, network.precision, server.url),
    )


def _refuse_costly_head() -> None:
    """Refuse HEAD with a query: Flask answers it like GET, inference included, but for the body."""
    request = flask.request
    if request.method == "HEAD" and request.query_string and request.url_rule is not None:
        raise MethodNotAllowed(valid_methods=(request.url_rule.methods or set()) - {"HEAD"})


def _raise_limit_of_files() -> None:
    """Allow as many sockets as there may be connections, each with a download, and some files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * MAX_CONNECTIONS
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
