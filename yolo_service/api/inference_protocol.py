"""The Open Inference Protocol, version 2, over HTTP (KServe, Triton, OpenVINO Model Server)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import version as version_of
from typing import Any

import flask
from flask import Response, jsonify
from pydantic import BaseModel, StrictBool

from yolo_service.api import problems, service
from yolo_service.api.detection import detect_each
from yolo_service.api.documents import json_response, read_document
from yolo_service.api.tensors import INPUTS, OUTPUTS, Call, read_call, write_answer
from yolo_service.errors import BadRequest, ModelNotFound, ServiceError
from yolo_service.formats.json import to_json
from yolo_service.models.info import ModelInfo
from yolo_service.predictor import Answer, Options

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header with the bytes of the JSON, behind which the binary tensors are."""

VERSION = "1"
"""The only version of every model."""

PLATFORM = "darknet"

BINARY = "application/octet-stream"
"""The type of a response that has binary tensors."""


class IndexRequest(BaseModel):
    """The body of a request for the index, which may be left out.

    Attributes:
        ready: whether to list only models that can be used.
    """

    ready: StrictBool = False


def server() -> Response:
    """Return name, version and extensions of the server."""
    name = "yolo-service"
    return jsonify(name=name, version=version_of(name), extensions=["binary_tensor_data"])


def live() -> Response:
    """Answer 200 while the event loop runs."""
    return jsonify(live=True)


def ready() -> Response:
    """Answer 200 while the default model works, else 503."""
    service.current().check_ready()
    return jsonify(ready=True)


def model(model: str) -> Response:
    """Describe the tensors of a model; they are the same for all models."""
    return model_version(model, VERSION)


def model_version(model: str, version: str) -> Response:
    """Describe the tensors of a version of a model."""
    document = {"name": _usable(model, version).name, "versions": [VERSION], "platform": PLATFORM}
    return jsonify(**document, inputs=INPUTS, outputs=OUTPUTS)


def model_ready(model: str) -> Response:
    """Answer 200 if a model can be used, loaded already or at its first use."""
    return version_ready(model, VERSION)


def version_ready(model: str, version: str) -> Response:
    """Answer 200 if a version of a model can be used."""
    return jsonify(name=_usable(model, version).name, ready=True)


def config(model: str) -> Response:
    """Describe the tensors of a model in the words of Triton's model configuration."""
    return version_config(model, VERSION)


def version_config(model: str, version: str) -> Response:
    """Describe the tensors of a version of a model in the words of Triton's configuration."""
    document = {"name": _usable(model, version).name, "platform": PLATFORM, "max_batch_size": 0}
    inputs = [{**tensor, "optional": True} for tensor in _configured(INPUTS)]
    return jsonify(**document, input=inputs, output=_configured(OUTPUTS))


def repository_index() -> Response:
    """List the models, each with its error if it cannot be used; READY ones may be unloaded."""
    body = flask.request.get_data()
    wanted = read_document(IndexRequest, body) if body else IndexRequest()
    infos = service.current().models()
    return jsonify([_indexed(info) for info in infos if not (wanted.ready and info.error)])


def infer(model: str) -> Response:
    """Detect objects in the images of a tensor."""
    return version_infer(model, VERSION)


def version_infer(model: str, version: str) -> Response:
    """Detect objects in the images of a tensor with a version of a model."""
    _check_version(version)
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


def _usable(model: str, version: str) -> ModelInfo:
    _check_version(version)
    return service.current().usable_model(model)


def _check_version(version: str) -> None:
    if version != VERSION:
        raise ModelNotFound(f"no version {version[:100]!r}; every model has version {VERSION} only")


def _configured(tensors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return tensors in the words of Triton's model configuration."""
    kinds = {"BYTES": "TYPE_STRING"}
    return [
        {
            "name": tensor["name"],
            "data_type": kinds.get(tensor["datatype"], f"TYPE_{tensor['datatype']}"),
            "dims": tensor["shape"],
        }
        for tensor in tensors
    ]


def _indexed(info: ModelInfo) -> dict[str, str]:
    state = "UNAVAILABLE" if info.error else "READY"
    return {"name": info.name, "version": VERSION, "state": state, "reason": info.error or ""}


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
