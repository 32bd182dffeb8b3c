"""Checks of the service: the models and their folder, the port and the API key."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from darknet import DarknetError
from yolo_service.doctor.apart import run_apart
from yolo_service.doctor.finding import Finding, Status
from yolo_service.errors import ConfigurationError, ServiceError
from yolo_service.http.healthcheck import is_ready
from yolo_service.models.catalog import changed_files, entries
from yolo_service.models.folder import is_complete, model_folders
from yolo_service.models.pull import check_folder, is_served
from yolo_service.settings import Settings


def models(settings: Settings) -> Iterator[Finding]:
    """Check all files of every model, as ``yolo-service models check`` does."""
    try:
        folders = model_folders(settings.model_roots)
        pullable = {entry.name for entry in entries(settings.models_dir)}
    except ConfigurationError as error:
        yield Finding("models", "FAIL", str(error))
        return
    for name, folder in folders.items():
        if is_complete(folder) or name not in pullable:
            yield _model(folder, name == settings.model)


def _model(folder: Path, is_default: bool) -> Finding:
    name = f"model {folder.name}"
    bad: Status = "FAIL" if is_default else "warn"
    try:
        model = check_folder(folder)
        changes = changed_files(folder)
    except (DarknetError, ServiceError, OSError) as error:
        advice = "fix or remove the folder; requests for this model are answered 503"
        return Finding(name, bad, str(error).removeprefix(f"{folder.name}: "), advice)
    if changes:
        advice = f"remove the file and run: yolo-service models pull {folder.name}"
        return Finding(name, bad, "; ".join(changes), advice)
    shape = model.cfg.net.input
    return Finding(name, "ok", f"{len(model.names)} classes, {shape.width} x {shape.height}")


def default_model(settings: Settings) -> Iterator[Finding]:
    """Load the default model as the service would, and detect once."""
    name = settings.model
    if name and _will_be_pulled(name, settings):
        advice = f"the first start takes longer; or run: yolo-service models pull {name}"
        yield Finding("default model", "warn", f"{name} will be pulled at the start", advice)
        return
    is_named = "models_dir" in settings.model_fields_set
    found = run_apart("model", str(settings.models_dir) if is_named else "")
    if error := found.get("error"):
        yield Finding("default model", "FAIL", f"the service would not start: {error}")
    else:
        yield Finding("default model", "ok", found["answer"])


def _will_be_pulled(name: str, settings: Settings) -> bool:
    try:
        pullable = {entry.name for entry in entries(settings.models_dir)}
        return name in pullable and not is_served(name, settings)
    except ConfigurationError:
        return False  # loading the model fails with this message, too


def models_folder(settings: Settings) -> Iterator[Finding]:
    """Try to write into the models folder; the default one is made by the first pull."""
    path = settings.models_dir.resolve()
    if "models_dir" not in settings.model_fields_set and not path.exists():
        yield Finding("models folder", "ok", f"{path} will be made by the first pull")
        return
    try:
        with tempfile.TemporaryFile(dir=path):
            yield Finding("models folder", "ok", f"{path} can be written to")
    except OSError as error:
        message = f"{path}: {error.strerror}; no model can be pulled into it"
        advice = "create it or let this user write to it, or set YOLO_MODELS_DIR"
        yield Finding("models folder", "warn", message, advice)


def port(settings: Settings) -> Iterator[Finding]:
    """Try to listen on the address."""
    host, number = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, number), family=family).close()
    except OSError as error:
        if number and is_ready(host, number):
            yield Finding("port", "ok", f"{host}:{number} has a yolo-service that is ready")
            return
        advice = "end the program that uses it (ss -ltnp), or set YOLO_HOST and YOLO_PORT"
        reason = str(error.strerror or error).partition(" (")[0]
        yield Finding("port", "FAIL", f"cannot listen on {host}:{number}: {reason}", advice)
    else:
        yield Finding("port", "ok", f"{host}:{number} is free")


def access(settings: Settings) -> Iterator[Finding]:
    """Warn if others than this machine can reach the service without an API key."""
    if settings.api_key:
        yield Finding("access", "ok", "clients have to send the API key")
    elif _is_loopback(settings.host):
        yield Finding("access", "ok", "only this machine can reach it; no API key is set")
    else:
        message = f"everybody who can reach {settings.host} may use it; no API key is set"
        yield Finding("access", "warn", message, "set YOLO_API_KEY")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
