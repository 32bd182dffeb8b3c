"""The contract of SageMaker's containers, as the ilytics backend speaks it."""

from __future__ import annotations

import base64
import functools

import flask
from flask import Response, jsonify
from pydantic import BaseModel

from darknet.model import RgbImage
from yolo_service.api import service
from yolo_service.api.documents import read_base64, read_document
from yolo_service.api.pipeline import Detection, Options, to_json, upload
from yolo_service.formats import counts
from yolo_service.images.draw import draw, encode
from yolo_service.predictor.answer import Answer


class Invocation(BaseModel):
    """The JSON form of a request; ``filename`` and whatever else is sent plays no part.

    Attributes:
        image: an encoded image in base64.
    """

    image: str


def ping() -> Response:
    """Answer once the default model is loaded, so that no request comes before."""
    service.current().check_ready()
    return jsonify(data="pong!")


def ping_with_slash() -> Response:
    """Do the same at ``/ping/``."""
    return ping()


def invoke() -> Response:
    """Draw and count what is in an image, sent as JSON, as a form or as it is."""
    deadline = service.current().deadline()
    data = _image(deadline)
    detection = Detection(Options(), _drawn_and_counted, deadline, keep_image=True)
    body = detection.in_image(data)
    return Response(body, mimetype="application/json")


def _image(deadline: float) -> bytes:
    request = flask.request
    if "image" in request.files:
        return upload(request.files["image"])
    if request.mimetype != "application/json":
        return request.get_data()
    return service.current().compute(functools.partial(_decoded, request.get_data()), deadline)


def _decoded(body: bytes) -> bytes:
    return read_base64("image", read_document(Invocation, body).image)


def _drawn_and_counted(answer: Answer, image: RgbImage) -> bytes:
    drawn = encode(draw(image, answer.detections), "jpeg")
    return to_json({"img": base64.b64encode(drawn).decode(), "stat": counts(answer)})
