"""The interface of DeepStack, with the fields that CodeProject.AI added to it."""

from __future__ import annotations

import functools
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from importlib.metadata import version as version_of
from typing import Any

import flask
from flask import Response, jsonify
from werkzeug.datastructures import FileStorage

from yolo_service.api import auth, problems, service
from yolo_service.api.detection import detect_image, upload
from yolo_service.api.documents import json_response
from yolo_service.errors import BadRequest, UndecodableImage, UnsupportedImageType
from yolo_service.formats import predictions
from yolo_service.formats.json import to_json
from yolo_service.predictor import Answer, Options

MIN_CONFIDENCE = 0.4
"""DeepStack's own default, for every model; its clients rely on it."""

MODULE = "yolo-service"


def detection(image: FileStorage) -> Response:
    """Detect objects with the default model."""
    return _detect(image, None, "detect")


def custom(image: FileStorage, model: str) -> Response:
    """Detect objects with a model that the client names."""
    return _detect(image, model, "custom")


def models() -> Response:
    """List the names of the models that can be used."""
    auth.require(flask.request.form.get("api_key"))
    names = [info.name for info in service.current().models() if info.error is None]
    return jsonify(success=True, models=names, **_module("list-custom"))


def ping() -> Response:
    """Answer 200."""
    return jsonify(success=True)


def version() -> Response:
    """Return the version of this service."""
    return jsonify(success=True, message=version_of("yolo-service"))


def update_available() -> Response:
    """Return that no update is known; none is looked for."""
    return jsonify(success=True, message="updates are not looked for", updateAvailable=False)


def error(error: Exception) -> Response:
    """Answer an error with DeepStack's message if it has one, else with this service's."""
    problem = problems.of_error(error)
    status, text = problem.status, problem.detail
    if isinstance(error, (UndecodableImage, UnsupportedImageType)):
        status, text = 400, "invalid image file"
    elif isinstance(error, BadRequest):
        text = _about(error)
    elif status == 401:
        text = "Incorrect api key"
    body = to_json({"success": False, "error": text, "duration": 0})
    return json_response(body, status, problem.headers)


def _detect(image: FileStorage, model: str | None, command: str) -> Response:
    form = flask.request.form
    auth.require(form.get("api_key"))
    options = Options(model, float(form.get("min_confidence") or MIN_CONFIDENCE))
    finish = functools.partial(_encoded, command)
    return json_response(detect_image(upload(image), options, finish))


def _encoded(command: str, answer: Answer) -> bytes:
    found = predictions(answer)
    names = ", ".join(dict.fromkeys(item["label"] for item in found))
    times = answer.timings
    process_ms = round(times.decode_ms + times.inference_ms)
    whole_ms = process_ms + round(times.queue_ms)
    document = {
        "success": True,
        "message": f"Found {names}" if found else "No objects found",
        "count": len(found),
        "predictions": found,
        "duration": whole_ms,
        "inferenceMs": round(times.inference_ms),
        "processMs": process_ms,
        "analysisRoundTripMs": whole_ms,
    }
    return to_json(document | _module(command))


def _module(command: str) -> dict[str, Any]:
    now = format_datetime(datetime.now(UTC), usegmt=True)
    return {"moduleId": MODULE, "moduleName": MODULE, "command": command, "timestampUTC": now}


def _about(error: BadRequest) -> str:
    """Return DeepStack's message about a field that is wrong."""
    if error.name == "image":
        return "No valid image file found"
    if error.name != "min_confidence":
        return error.detail
    with suppress(ValueError):
        if float(flask.request.form["min_confidence"]) > 1:
            return "min_confidence cannot be greater than 1"
    return "Invalid value for min_confidence"
