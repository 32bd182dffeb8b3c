"""What is in this image, drawn on it."""

from __future__ import annotations

import functools
from typing import Any

import flask
from flask import Response
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import NotAcceptable

from darknet.model import RgbImage
from yolo_service.api.pipeline import Detection, Options, upload
from yolo_service.images.draw import Kind, draw, encode
from yolo_service.predictor.answer import Answer

KINDS: dict[str, Kind] = {"image/jpeg": "jpeg", "image/png": "png"}


def by_url(
    *,
    url: str,
    model: str | None = None,
    threshold: float | None = None,
    nms: float | None = None,
    hier_threshold: float | None = None,
) -> Response:
    """Draw what is found in an image that is downloaded."""
    media_type = _accepted()
    finish = functools.partial(_drawn, KINDS[media_type])
    options = Options(model, threshold, nms, hier_threshold)
    return _image(Detection(options, finish, keep_image=True).in_url(url), media_type)


def by_upload(image_file: FileStorage, body: dict[str, Any]) -> Response:
    """Draw what is found in an image that is sent along."""
    media_type = _accepted()
    finish = functools.partial(_drawn, KINDS[media_type])
    data = upload(image_file)
    detection = Detection(Options(**body), finish, keep_image=True)
    return _image(detection.in_image(data), media_type)


def _accepted() -> str:
    """Choose between JPEG and PNG as the client's Accept says; JPEG if it does not care.

    Raises:
        NotAcceptable: it wants neither.
    """
    accept = flask.request.accept_mimetypes
    chosen = accept.best_match(KINDS) if accept else "image/jpeg"
    if chosen is None:
        raise NotAcceptable(f"Accept: {accept}: only {' and '.join(KINDS)} can be answered")
    return chosen


def _drawn(kind: Kind, answer: Answer, image: RgbImage) -> bytes:
    return encode(draw(image, answer.detections), kind)


def _image(body: bytes, media_type: str) -> Response:
    return Response(body, mimetype=media_type, headers={"Vary": "Accept"})
