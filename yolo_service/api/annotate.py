"""Routes that draw detections on an image."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flask
from flask import Response
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import NotAcceptable

from yolo_service.api.detection import (
    Finish,
    detect_image,
    detect_url,
    read_options,
    upload,
)
from yolo_service.images.draw import Kind, draw_file
from yolo_service.predictor import Options

KINDS: dict[str, Kind] = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "application/octet-stream": "jpeg",
}


def by_url(*, url: str, **query: Any) -> Response:
    """Draw what is found in an image that is downloaded."""
    return _drawn(functools.partial(detect_url, url), query)


def by_upload(image_file: FileStorage, body: dict[str, Any]) -> Response:
    """Draw what is found in an image that is uploaded."""
    return _drawn(functools.partial(detect_image, upload(image_file)), body)


def _drawn(detect: Callable[[Options, Finish[bytes]], bytes], values: dict[str, Any]) -> Response:
    media_type = _accepted()
    body = detect(
        replace(read_options(values), keep_image=True),
        lambda answer: draw_file(answer.image, answer.detections, KINDS[media_type]),
    )
    return Response(body, mimetype=media_type, headers={"Vary": "Accept"})


def _accepted() -> str:
    """Choose a media type by the header Accept; JPEG without one.

    Raises:
        NotAcceptable: it names none that can be answered.
    """
    accept = flask.request.accept_mimetypes
    chosen = accept.best_match(KINDS) if accept else "image/jpeg"
    if chosen is None:
        raise NotAcceptable(f"only {', '.join(KINDS)} can be answered; leave Accept out")
    return chosen
