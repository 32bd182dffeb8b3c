"""The Open Inference Protocol, version 2, over HTTP (KServe, Triton, OpenVINO Model Server)."""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import Any

import flask
from flask import Response, jsonify

from yolo_service.api import problems, service
from yolo_service.api.detection import detect_each
from yolo_service.api.tensors import INPUTS, OUTPUTS, Call, read_call, write_answer
from yolo_service.errors import BadRequest, ModelUnavailable, ServiceError
from yolo_service.formats.json import to_json
from yolo_service.models.info import ModelInfo
from yolo_service.predictor import Answer, Image, Options

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header that says where in a body the JSON ends and the binary tensors begin."""

BINARY = "application/octet-stream"
"""The type of an answer that has them."""


def server() -> Response:
    """Tell who this is."""
    name = "yolo-service"
    return jsonify(name=name, version=version(name), extensions=["binary_tensor_data"])


def live() -> Response:
    """Answer as long as the loop turns."""
    return jsonify(live=True)


def ready() -> Response:
    """Answer once the default model is loaded."""
    service.current().check_ready()
    return jsonify(ready=True)


def model(model: str) -> Response:
    """Describe the tensors of a model; they are the same for all models."""
    info = _info(model)
    told = {"name": info.name, "versions": ["1"], "platform": "darknet"}
    return jsonify(**told, inputs=INPUTS, outputs=OUTPUTS)


def model_ready(model: str) -> Response:
    """Say whether a model can be used, loaded already or at its first use."""
    return jsonify(name=_info(model).name, ready=True)


def infer(model: str) -> Response:
    """Detect objects in the images of a tensor."""
    current = service.current()
    call = current.run_in_thread(_reading())
    chosen = call.request.parameters
    options = Options(model, chosen.threshold, chosen.nms, chosen.hier_threshold)
    answers = detect_each(call.images, _as_it_is, options, _kept)
    head, raw = current.run_in_thread(functools.partial(_encoded, model, call, answers))
    if not raw:
        return _json(head)
    return Response(head + raw, headers={JSON_LENGTH: str(len(head))}, mimetype=BINARY)


def error(error: Exception) -> Response:
    """Answer an error as the protocol says."""
    problem = problems.of_error(error)
    return _json(to_json({"error": problem.detail}), problem.status, problem.headers)


def _info(name: str) -> ModelInfo:
    """Return a model that can be used.

    Raises:
        ModelNotFound: no such model.
        ModelUnavailable: its files are wrong.
    """
    info = service.current().model_info(name)
    if info.error is not None:
        raise ModelUnavailable(info.error)
    return info


def _reading() -> functools.partial[Call]:
    """Prepare to read the request's body on another thread, where flask.request is not."""
    request = flask.request
    body, header = request.get_data(), request.headers.get(JSON_LENGTH)
    if header is not None and not (header.isascii() and header.isdigit()):
        raise BadRequest(f"expected a number of bytes, found {header[:100]!r}", name=JSON_LENGTH)
    length = None if header is None else min(int(header[:20]), len(body))
    return functools.partial(read_call, body, length, service.current().settings.max_pixels)


def _as_it_is(image: Image) -> Image:
    return image


def _kept(answer: Answer) -> Answer:
    return answer


def _encoded(model: str, call: Call, answers: list[Answer | ServiceError]) -> tuple[bytes, bytes]:
    """Write the answer of all images; the protocol has no way to answer only some of them.

    Returns:
        The JSON, and the values that come as bytes.
    """
    good: list[Answer] = []
    for answer in answers:
        if isinstance(answer, ServiceError):
            raise answer
        good.append(answer)
    told, raw = write_answer(model, call.request, good)
    return to_json(told), raw


def _json(body: bytes, status: int = 200, headers: dict[str, Any] | None = None) -> Response:
    return Response(body, status, headers, mimetype="application/json")
