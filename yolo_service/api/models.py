"""The route that lists the models."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from yolo_service.api import service
from yolo_service.models.info import ModelInfo

_OPTIONS = ("dialect", "threshold", "nms", "hier_threshold", "license", "description")
_NETWORK = {"engine": "engine_name", "device": "device", "precision": "precision"}


def catalog() -> Response:
    """List the models of the models folder, each with its error if it has one."""
    current = service.current()
    default = current.predictor.models.default
    return jsonify(models=[_described(info, default) for info in current.models()])


def _described(info: ModelInfo, default: str) -> dict[str, Any]:
    network = info.loaded and info.loaded.network
    size = info.input_size
    return {
        "name": info.name,
        "default": info.name == default,
        "loaded": network is not None,
        "error": info.error,
        "classes": info.classes,
        "input": size and {"width": size[0], "height": size[1]},
        **{name: getattr(network, attribute, None) for name, attribute in _NETWORK.items()},
        **{name: getattr(info.options, name, None) for name in _OPTIONS},
    }
