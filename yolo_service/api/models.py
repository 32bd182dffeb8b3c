"""The routes that describe models and hand them out."""

from __future__ import annotations

from typing import Any

import flask
from flask import Response, jsonify

from yolo_service.api import service
from yolo_service.errors import ModelNotPublic
from yolo_service.models.export import compressed
from yolo_service.models.info import ModelInfo

_OPTIONS = ("dialect", "threshold", "nms", "hier_threshold", "license", "description")
_NETWORK = {"engine": "engine_name", "device": "device", "precision": "precision"}


def catalog() -> Response:
    """List the models of the models folder, each with its error if it has one."""
    return jsonify(models=[_described(info) for info in service.current().models()])


def one(model: str) -> Response:
    """Describe a model, with its error if it has one."""
    return jsonify(_described(service.current().model(model)))


def onnx(model: str) -> Response:
    """Hand out a public model as an ONNX file; a client that has it already is told so."""
    current = service.current()
    if not _is_public(current.usable_model(model)):
        raise ModelNotPublic(
            f"model {model} is not handed out; its owner can allow it by public: true in its "
            "model.yaml, or in YOLO_PUBLIC_MODELS"
        )
    takes_gzip = flask.request.accept_encodings["gzip"] > 0
    version = current.export_version(model)
    tag = f"{version}-gzip" if takes_gzip else version
    if tag in flask.request.if_none_match:
        answer = Response(status=304)
    else:
        path = current.export(model, version)
        answer = flask.send_file(
            compressed(path) if takes_gzip else path,
            mimetype="application/octet-stream",
            as_attachment=True,
            download_name="model.onnx",
            conditional=False,
            etag=False,
        )
        if takes_gzip:
            answer.headers["Content-Encoding"] = "gzip"
    answer.set_etag(tag)
    answer.headers["Cache-Control"] = "no-cache"
    answer.vary.add("Accept-Encoding")
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
