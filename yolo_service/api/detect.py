"""Routes that detect objects in images."""

from __future__ import annotations

from typing import Any

import flask
from flask import Response
from werkzeug.datastructures import FileStorage

from yolo_service.api import problems
from yolo_service.api.detection import (
    detect_each,
    detect_image,
    detect_url,
    read_options,
    upload,
)
from yolo_service.errors import BadRequest, ServiceError
from yolo_service.formats import FORMATS, Format


def by_url(*, url: str, **query: Any) -> Response:
    """Detect objects in an image that is downloaded."""
    form = FORMATS[query.pop("format", "darknet")]
    return _response(detect_url(url, read_options(query), form.encode), form)


def by_upload(body: dict[str, Any]) -> Response:
    """Detect objects in one or several images that are uploaded."""
    name = body.pop("format", "darknet")
    form, options = FORMATS[name], read_options(body)
    files = flask.request.files.getlist("image_file")
    if len(files) > 1 and not form.is_json:
        raise BadRequest(f"{name} is for one image, found {len(files)}; choose opex", name="format")
    if len(files) == 1:
        return _response(
            detect_image(upload(files[0]), options, form.encode, _name(files[0])), form
        )
    entries = (
        problems.of_error(entry).body if isinstance(entry, ServiceError) else entry
        for entry in detect_each(files, upload, options, form.encode, _name)
    )
    return _response(b"[" + b",".join(entries) + b"]\n", form)


def _name(file: FileStorage) -> str:
    return file.filename or ""


def _response(body: bytes, form: Format) -> Response:
    return Response(body, mimetype=form.media_type)
