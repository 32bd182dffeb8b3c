"""The process that serves: signals, start and stop."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
import time
from ipaddress import ip_address

import gevent
from gevent.event import Event

from yolo_service import logs, process
from yolo_service.api.service import Service
from yolo_service.api.waiting import wait
from yolo_service.errors import ConfigurationError, ModelUnavailable
from yolo_service.http.app import create_app
from yolo_service.http.fetch import Fetcher
from yolo_service.http.server import MAX_CONNECTIONS, Server, listen
from yolo_service.http.streams import Budget
from yolo_service.models.opening import ensure_model
from yolo_service.predictor import open_predictor
from yolo_service.settings import Settings, load_settings, unknown_variables
from yolo_service.threads import DaemonExecutor

log = logging.getLogger(__name__)

REQUESTS_SECONDS = 7.0
"""How long requests may take after the signal to stop."""
CLOSE_SECONDS = 1.0
"""How long closing the models may take after that; Cloud Run kills after 10 seconds in all."""

RETURN_SECONDS = 5.0
"""How often it is looked whether memory can be returned to the system."""
MUCH_BYTES = 64_000_000

BODIES_BYTES = 256_000_000
"""Memory that uploads and downloads may take together; twice the largest one at least."""


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code of the process."""
    prepare_process(settings)
    process.keep_stdout_for_results()
    process.raise_open_files_limit(3 * MAX_CONNECTIONS)  # each with a download, and some files
    _print_stacks_on_crash()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    try:
        service = open_service(settings)
        server = _listen(settings, service)
    except ConfigurationError as error:
        log.error("%s", error)
        return 2
    return _run(server, service, stop)


def prepare_process(settings: Settings) -> None:
    """Set what holds for the whole process: its log, and its memory."""
    logs.configure(settings.log_format)
    for fault in unknown_variables():
        log.warning("%s", fault)
    process.tune()


def open_service(settings: Settings) -> Service:
    """Open the service; no model is loaded yet.

    Raises:
        ConfigurationError: there is no model to serve.
    """
    return Service(settings, open_predictor(settings), Fetcher(settings))


def body_budget(settings: Settings) -> Budget:
    """Return the memory for the bodies of all requests together."""
    return Budget(max(BODIES_BYTES, 2 * settings.max_upload_bytes))


def main() -> int:
    """Serve with the settings of the environment: ``python app.py``; returns the exit code."""
    try:
        settings = load_settings()
        ensure_model(settings)
        return serve(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log is not configured yet
        return 2


def _print_stacks_on_crash() -> None:
    """Print the stack of every thread when native code crashes, and at SIGUSR1."""
    faulthandler.enable()
    if hasattr(faulthandler, "register"):  # Windows has no SIGUSR1
        faulthandler.register(signal.SIGUSR1)


def _listen(settings: Settings, service: Service) -> Server:
    host, port = settings.host, settings.port
    try:
        listener = listen(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; "
            "set YOLO_HOST or YOLO_PORT to another"
        ) from error
    budget = body_budget(settings)
    server = Server(listener, create_app(service), settings.request_timeout, budget)
    server.start()
    log.info("listening on %s", server.url)
    _log_missing_key(settings, server)
    return server


def _log_missing_key(settings: Settings, server: Server) -> None:
    if settings.api_key is None and not ip_address(server.address[0]).is_loopback:
        log.warning(
            "no API key is set: everybody who reaches %s is served; set YOLO_API_KEY, "
            "or YOLO_HOST=127.0.0.1 to serve this machine only",
            server.url,
        )


def _run(server: Server, service: Service, stop: Event) -> int:
    """Load the default model while /healthz is answered already, then serve until ``stop``."""

    def load() -> bool:
        try:
            model = service.start()
            log.info("serving %s; see %s/", model.description, server.url)
            _freeze_memory()
            gevent.spawn(_return_memory, service)
            return True
        except ModelUnavailable as error:
            log.error("cannot start: %s", error)
        except Exception:
            log.exception("cannot start because of an unexpected error")
        stop.set()
        return False

    loading = gevent.spawn(load)
    stop.wait()
    loading.kill()
    return _stop(server, service, exit_code=1 if loading.value is False else 0)


def _stop(server: Server, service: Service, exit_code: int) -> int:
    """Finish the requests and close the models; ends in time even if native code hangs."""
    log.info("stopping")
    until = time.monotonic() + REQUESTS_SECONDS
    if not server.finish(until):
        log.warning("some requests took more than %g seconds and were broken off", REQUESTS_SECONDS)
    if not service.predictor.close(until + CLOSE_SECONDS):
        # Native code still computes: the interpreter must not wait for it, nor free what it uses.
        log.warning("stopped while a model was still computing")
        logging.shutdown()
        os._exit(exit_code)
    log.info("stopped")
    return exit_code


def _return_memory(service: Service) -> None:
    """Return freed memory to the system, when nothing is computed and much more is in use."""
    executor = DaemonExecutor("memory")
    at_rest = process.resident_bytes()
    while True:
        gevent.sleep(RETURN_SECONDS)
        if service.predictor.is_idle and process.resident_bytes() > at_rest + MUCH_BYTES:
            wait(executor.submit(process.return_freed_memory))
            at_rest = process.resident_bytes()


def _freeze_memory() -> None:
    """Exclude what is alive now from garbage collections, which would take 100 ms of the loop."""
    gc.collect()
    gc.freeze()
    process.return_freed_memory()
