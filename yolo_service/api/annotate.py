"""Routes that draw detections on an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
from flask import Response
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import NotAcceptable

from yolo_service.api.detection import detect_image, detect_url, upload
from yolo_service.images.draw import Kind, draw, encode
from yolo_service.predictor import Answer, Options

KINDS: dict[str, Kind] = {"image/jpeg": "jpeg", "image/png": "png"}


def by_url(*, url: str, **query: Any) -> Response:
    """Draw what is found in an image that is downloaded."""
    media_type = _accepted()
    options = Options(**query, keep_image=True)
    return _response(detect_url(url, options, _drawing(media_type)), media_type)


def by_upload(image_file: FileStorage, body: dict[str, Any]) -> Response:
    """Draw what is found in an image that is uploaded."""
    media_type = _accepted()
    options = Options(**body, keep_image=True)
    data = upload(image_file)
    return _response(detect_image(data, options, _drawing(media_type)), media_type)


def _accepted() -> str:
    """Choose between JPEG and PNG by the header Accept; JPEG without one.

    Raises:
        NotAcceptable: it names neither.
    """
    accept = flask.request.accept_mimetypes
    chosen = accept.best_match(KINDS) if accept else "image/jpeg"
    if chosen is None:
        raise NotAcceptable(f"only {' and '.join(KINDS)} can be answered; leave Accept out")
    return chosen


def _drawing(media_type: str) -> Callable[[Answer], bytes]:
    return lambda answer: encode(draw(answer.image, answer.detections), KINDS[media_type])


def _response(body: bytes, media_type: str) -> Response:
    return Response(body, mimetype=media_type, headers={"Vary": "Accept"})
