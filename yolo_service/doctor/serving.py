"""Checks of the service: the models and their folder, the port and the API key."""

from __future__ import annotations

import socket
import tempfile
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


def models(settings: Settings) -> list[Finding]:
    """Check all files of every model, as ``yolo-service models check`` does."""
    try:
        folders = model_folders(settings.model_roots)
        pullable = {entry.name for entry in entries(settings.models_dir)}
    except ConfigurationError as error:
        return [Finding("models", "FAIL", str(error))]
    return [
        _model(folder, name == settings.model)
        for name, folder in folders.items()
        if is_complete(folder) or name not in pullable
    ]


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


def default_model(settings: Settings) -> list[Finding]:
    """Load the default model as the service would, and detect once."""
    name = settings.model
    if name and _will_be_pulled(name, settings):
        advice = f"the first start takes longer; or run: yolo-service models pull {name}"
        return [Finding("default model", "warn", f"{name} will be pulled at the start", advice)]
    is_named = "models_dir" in settings.model_fields_set
    found = run_apart("model", str(settings.models_dir) if is_named else "")
    if error := found.get("error"):
        return [Finding("default model", "FAIL", f"the service would not start: {error}")]
    return [Finding("default model", "ok", found["answer"])]


def _will_be_pulled(name: str, settings: Settings) -> bool:
    try:
        pullable = {entry.name for entry in entries(settings.models_dir)}
        return name in pullable and not is_served(name, settings)
    except ConfigurationError:
        return False  # loading the model fails with this message, too


def models_folder(settings: Settings) -> list[Finding]:
    """Try to write into the models folder; the default one is made by the first pull."""
    path = settings.models_dir.resolve()
    if "models_dir" not in settings.model_fields_set and not path.exists():
        return [Finding("models folder", "ok", f"{path} will be made by the first pull")]
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        message = f"{path}: {error.strerror}; no model can be pulled into it"
        advice = "create it or let this user write to it, or set YOLO_MODELS_DIR"
        return [Finding("models folder", "warn", message, advice)]
    return [Finding("models folder", "ok", f"{path} can be written to")]


def port(settings: Settings) -> list[Finding]:
    """Try to listen on the address."""
    host, number = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, number), family=family).close()
    except OSError as error:
        if number and is_ready(host, number):
            return [Finding("port", "ok", f"{host}:{number} has a yolo-service that is ready")]
        advice = "end the program that uses it (ss -ltnp), or set YOLO_HOST and YOLO_PORT"
        reason = str(error.strerror or error).partition(" (")[0]
        return [Finding("port", "FAIL", f"cannot listen on {host}:{number}: {reason}", advice)]
    return [Finding("port", "ok", f"{host}:{number} is free")]


def access(settings: Settings) -> list[Finding]:
    """Check whether other machines can reach the service without an API key."""
    if settings.api_key:
        return [Finding("access", "ok", "clients have to send the API key")]
    if _is_loopback(settings.host):
        return [Finding("access", "ok", "only this machine can reach it; no API key is set")]
    message = f"everybody who can reach {settings.host} may use it; no API key is set"
    return [Finding("access", "warn", message, "set YOLO_API_KEY")]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
