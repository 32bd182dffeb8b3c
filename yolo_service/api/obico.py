"""The interface of Obico's (The Spaghetti Detective's) ml_api."""

from __future__ import annotations

import flask
from flask import Response

from yolo_service.api import problems, service
from yolo_service.api.detection import detect_url
from yolo_service.api.documents import json_response
from yolo_service.errors import FetchFailed, Unavailable
from yolo_service.formats import darknet
from yolo_service.formats.json import to_json
from yolo_service.predictor import Options

DEFAULT_THRESHOLD = 0.08
"""Obico combines the detections of many frames, weak ones included."""

UNAUTHORIZED = (
    "the token is missing or wrong; set ML_API_TOKEN to the same value at the Obico server and at "
    "this service, or to this service's YOLO_API_KEY at the Obico server"
)


def predict(img: str) -> Response:
    """Detect failures in an image of a print that is downloaded."""
    options = Options(default_threshold=DEFAULT_THRESHOLD)
    body = detect_url(img, options, lambda answer: to_json({"detections": darknet(answer)}))
    return json_response(body)


def healthy() -> Response:
    """Answer ``ok`` once the model is loaded."""
    try:
        service.current().check_ready()
    except Unavailable:
        return Response("error", 503, mimetype="text/plain")
    return Response("ok", mimetype="text/plain")


def error(error: Exception) -> Response:
    """Answer an error as ml_api does."""
    problem = problems.of_error(error)
    status, text = problem.status, problem.detail
    if isinstance(error, FetchFailed):
        status = 400
    elif status == 401:
        text = UNAUTHORIZED
    elif status == 400 and not flask.request.args.get("img"):
        status = 422
    body = to_json({"detections": [], "message": text})
    return json_response(body, status, problem.headers)
