"""The routes that describe models and hand them out."""

from __future__ import annotations

from typing import Any

import flask
from flask import Response, jsonify

from yolo_service.api import service
from yolo_service.errors import ModelNotFound, ModelNotPublic
from yolo_service.models.info import ModelInfo

_OPTIONS = ("dialect", "threshold", "nms", "hier_threshold", "license", "description")
_NETWORK = {"engine": "engine_name", "device": "device", "precision": "precision"}


def catalog() -> Response:
    """List the models of the models folder, each with its error if it has one."""
    return jsonify(models=[_described(info) for info in service.current().models()])


def one(model: str) -> Response:
    """Describe a model, with its error if it has one."""
    models = {info.name: info for info in service.current().models()}
    if model not in models:
        raise ModelNotFound(f"no model {model[:100]!r}; there are: {', '.join(models)}")
    return jsonify(_described(models[model]))


def onnx(model: str) -> Response:
    """Hand out a public model as an ONNX file; a client that has it already is told so."""
    current = service.current()
    if not _is_public(current.usable_model(model)):
        raise ModelNotPublic(
            f"model {model} is not handed out; its owner can allow it by public: true in its "
            "model.yaml, or in YOLO_PUBLIC_MODELS"
        )
    exported = current.export(model)
    takes_gzip = flask.request.accept_encodings["gzip"] > 0
    content = exported.compressed if takes_gzip else exported.content
    answer = Response(content, mimetype="application/octet-stream")
    if takes_gzip:
        answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Content-Disposition"] = "attachment; filename=model.onnx"
    answer.headers["Cache-Control"] = "no-cache"
    answer.vary.add("Accept-Encoding")
    answer.set_etag(f"{exported.version}-gzip" if takes_gzip else exported.version)
    answer.make_conditional(flask.request)
    return answer


def _described(info: ModelInfo) -> dict[str, Any]:
    network = info.loaded and info.loaded.network
    size = info.input_size
    return {
        "name": info.name,
        "default": info.name == service.current().predictor.models.default,
        "loaded": network is not None,
        "error": info.error,
        "classes": info.classes,
        "input": size and {"width": size[0], "height": size[1]},
        "resize": info.resize,
        "diou_beta": info.diou_beta,
        "public": _is_public(info),
        **{name: getattr(network, attribute, None) for name, attribute in _NETWORK.items()},
        **{name: getattr(info.options, name, None) for name in _OPTIONS},
    }


def _is_public(info: ModelInfo) -> bool:
    named = info.name in service.current().settings.public_models
    return named or bool(info.options and info.options.public)
