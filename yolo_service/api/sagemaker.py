"""The routes of SageMaker's containers, with the bodies of the ilytics backend."""

from __future__ import annotations

import base64

import flask
from flask import Response, jsonify
from pydantic import BaseModel

from yolo_service.api import service
from yolo_service.api.detection import detect_image, upload
from yolo_service.api.documents import json_response, read_base64, read_document
from yolo_service.formats import counts
from yolo_service.formats.json import to_json
from yolo_service.images.draw import draw_file
from yolo_service.predictor import Answer, Options


class Invocation(BaseModel):
    """The JSON form of a request; ``filename`` and other members are ignored.

    Attributes:
        image: an encoded image in base64.
    """

    image: str


def ping() -> Response:
    """Answer 200 once the default model is loaded, else 503."""
    service.current().check_ready()
    return jsonify(data="pong!")


def ping_with_slash() -> Response:
    """Do the same at ``/ping/``."""
    return ping()


def invoke() -> Response:
    """Draw and count what is in an image, sent as JSON, as a form or as the whole body."""
    return json_response(detect_image(_image(), Options(keep_image=True), _drawn_and_counted))


def _image() -> bytes:
    request = flask.request
    if "image" in request.files:
        return upload(request.files["image"])
    if request.mimetype != "application/json":
        return request.get_data()
    body = request.get_data()
    return service.current().run_in_thread(
        lambda: read_base64("image", read_document(Invocation, body).image)
    )


def _drawn_and_counted(answer: Answer) -> bytes:
    drawn = draw_file(answer.image, answer.detections, "jpeg")
    return to_json({"img": base64.b64encode(drawn).decode(), "stat": counts(answer)})
