"""The models that can be asked for."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from yolo_service.api import service
from yolo_service.models.info import ModelInfo


def catalog() -> Response:
    """List the models of the models folder, and what is wrong with those that have an error."""
    current = service.current()
    default = current.predictor.models.default
    return jsonify(models=[_described(info, default) for info in current.models()])


def _described(info: ModelInfo, default: str) -> dict[str, Any]:
    width, height = info.input_size or (None, None)
    return {
        "name": info.name,
        "default": info.name == default,
        "loaded": info.loaded is not None,
        "error": info.error,
        "classes": info.classes,
        "input": None if width is None else {"width": width, "height": height},
        **_engine(info),
        **_options(info),
    }


def _engine(info: ModelInfo) -> dict[str, Any]:
    network = info.loaded.network if info.loaded else None
    return {
        "engine": network and network.engine_name,
        "device": network and network.device,
        "precision": network and network.precision,
    }


def _options(info: ModelInfo) -> dict[str, Any]:
    names = ("dialect", "threshold", "nms", "hier_threshold", "license", "description")
    return {name: getattr(info.options, name, None) for name in names}
