"""Routes that detect objects in images."""

from __future__ import annotations

from typing import Any

import flask
from flask import Response
from werkzeug.datastructures import FileStorage

from yolo_service.api import problems
from yolo_service.api.detection import Finish, detect_each, detect_image, detect_url, upload
from yolo_service.errors import BadRequest, ServiceError
from yolo_service.formats import FORMATS
from yolo_service.formats.json import to_json
from yolo_service.predictor import Answer, Options

CSV = "rois"
"""The format that is not JSON."""


def by_url(*, url: str, **query: Any) -> Response:
    """Detect objects in an image that is downloaded."""
    form = query.pop("format", "darknet")
    return _response(detect_url(url, Options(**query), _in_format(form)), form)


def by_upload(body: dict[str, Any]) -> Response:
    """Detect objects in one or several images that are uploaded."""
    form = body.pop("format", "darknet")
    files = flask.request.files.getlist("image_file")
    if len(files) > 1 and form == CSV:
        raise BadRequest(f"{CSV} is for one image, found {len(files)}; choose opex", name="format")
    options, finish = Options(**body), _in_format(form)
    if len(files) == 1:
        return _response(detect_image(upload(files[0]), options, finish, _name(files[0])), form)
    entries = (
        problems.of_error(entry).body if isinstance(entry, ServiceError) else entry
        for entry in detect_each(files, upload, options, finish, _name)
    )
    return _response(b"[" + b",".join(entries) + b"]\n", form)


def _in_format(name: str) -> Finish[bytes]:
    def encoded(answer: Answer) -> bytes:
        value = FORMATS[name](answer)
        return value.encode() if isinstance(value, str) else to_json(value)

    return encoded


def _name(file: FileStorage) -> str:
    return file.filename or ""


def _response(body: bytes, form: str) -> Response:
    return Response(body, mimetype="text/csv" if form == CSV else "application/json")
