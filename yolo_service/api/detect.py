"""What is in this image?"""

from __future__ import annotations

import functools
from typing import Any

import flask
from flask import Response

from darknet.engines.base import RgbImage
from yolo_service import problems
from yolo_service.api.pipeline import Detection, Finish, Options, to_json, upload
from yolo_service.errors import ServiceError
from yolo_service.formats import FORMATS, Answer


def by_url(
    *,
    url: str,
    model: str | None = None,
    threshold: float | None = None,
    nms: float | None = None,
    hier_threshold: float | None = None,
    format_: str = "darknet",
) -> Response:
    """Detect objects in an image that is downloaded."""
    options = Options(model, threshold, nms, hier_threshold)
    return _json(Detection(options, _in_format(format_)).in_url(url))


def by_upload(body: dict[str, Any]) -> Response:
    """Detect objects in one image, or in each of several, that are sent along."""
    finish = _in_format(body.pop("format", "darknet"))
    files = flask.request.files.getlist("image_file")
    if len(files) == 1:
        data = upload(files[0])
        return _json(Detection(Options(**body), finish).in_picture(data))
    answers = Detection(Options(**body), finish).in_each(files, upload)
    return _json(b"[" + b",".join(map(_entry, answers)) + b"]\n")


def _in_format(name: str) -> Finish[bytes]:
    return functools.partial(_encoded, name)


def _encoded(name: str, answer: Answer, _: RgbImage) -> bytes:
    return to_json(FORMATS[name](answer))


def _entry(answer: bytes | ServiceError) -> bytes:
    """Write what a batch says about one of its images."""
    return problems.of_error(answer).body if isinstance(answer, ServiceError) else answer


def _json(body: bytes) -> Response:
    return Response(body, mimetype="application/json")
