"""The Open Inference Protocol, version 2, over HTTP (KServe, Triton, OpenVINO Model Server)."""

from __future__ import annotations

import functools
from importlib.metadata import version

import flask
from flask import Response, jsonify

from yolo_service.api import problems, service
from yolo_service.api.detection import detect_each
from yolo_service.api.documents import json_response
from yolo_service.api.tensors import INPUTS, OUTPUTS, Call, read_call, write_answer
from yolo_service.errors import BadRequest, ServiceError
from yolo_service.formats.json import to_json
from yolo_service.predictor import Answer, Options

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header with the bytes of the JSON, behind which the binary tensors are."""

BINARY = "application/octet-stream"
"""The type of a response that has binary tensors."""


def server() -> Response:
    """Return name, version and extensions of the server."""
    name = "yolo-service"
    return jsonify(name=name, version=version(name), extensions=["binary_tensor_data"])


def live() -> Response:
    """Answer 200 while the event loop runs."""
    return jsonify(live=True)


def ready() -> Response:
    """Answer 200 while the default model works, else 503."""
    service.current().check_ready()
    return jsonify(ready=True)


def model(model: str) -> Response:
    """Describe the tensors of a model; they are the same for all models."""
    info = service.current().usable_model(model)
    document = {"name": info.name, "versions": ["1"], "platform": "darknet"}
    return jsonify(**document, inputs=INPUTS, outputs=OUTPUTS)


def model_ready(model: str) -> Response:
    """Answer 200 if a model can be used, loaded already or at its first use."""
    return jsonify(name=service.current().usable_model(model).name, ready=True)


def infer(model: str) -> Response:
    """Detect objects in the images of a tensor."""
    current = service.current()
    call = current.run_in_thread(_reading())
    chosen = call.request.parameters
    options = Options(model, chosen.threshold, chosen.nms, chosen.hier_threshold)
    answers = detect_each(call.images, lambda image: image, options, lambda answer: answer)
    head, raw = current.run_in_thread(functools.partial(_encoded, model, call, answers))
    if not raw:
        return json_response(head)
    return Response(head + raw, headers={JSON_LENGTH: str(len(head))}, mimetype=BINARY)


def error(error: Exception) -> Response:
    """Answer an error as the protocol says."""
    problem = problems.of_error(error)
    return json_response(to_json({"error": problem.detail}), problem.status, problem.headers)


def _reading() -> functools.partial[Call]:
    """Return the function that reads the request's body on a thread without flask.request."""
    request = flask.request
    body, header = request.get_data(), request.headers.get(JSON_LENGTH)
    if header is not None and not (header.isascii() and header.isdigit()):
        raise BadRequest(f"expected a number of bytes, found {header[:100]!r}", name=JSON_LENGTH)
    length = None if header is None else min(int(header[:20]), len(body))
    return functools.partial(read_call, body, length, service.current().settings.max_pixels)


def _encoded(model: str, call: Call, answers: list[Answer | ServiceError]) -> tuple[bytes, bytes]:
    """Return the response for all images: the JSON, and the values that come as bytes.

    Raises:
        ServiceError: the first error, because the protocol has none for a single image.
    """
    good: list[Answer] = []
    for answer in answers:
        if isinstance(answer, ServiceError):
            raise answer
        good.append(answer)
    document, raw = write_answer(model, call.request, good)
    return to_json(document), raw
