"""This service's own format, with names for all values."""

from __future__ import annotations

from typing import Any

from yolo_service.formats.columns import columns
from yolo_service.predictor.answer import Answer


def objects(answer: Answer) -> dict[str, Any]:
    """Return the schema ``DetectionObjects`` of swagger.yaml."""
    return {
        "model": answer.model,
        "engine": answer.engine,
        "device": answer.device,
        "precision": answer.precision,
        "image": {"width": answer.width, "height": answer.height},
        "detections": [_object(*row) for row in zip(*columns(answer), strict=True)],
        "timings": {name: round(value, 3) for name, value in vars(answer.timings).items()},
    }


def _object(
    label: str, class_id: int, score: float, box: list[float], corners: list[float]
) -> dict[str, Any]:
    return {
        "label": label,
        "class_id": class_id,
        "confidence": score,
        "box": dict(zip(("x", "y", "width", "height"), box, strict=True)),
        "corners": dict(zip(("left", "top", "right", "bottom"), corners, strict=True)),
    }
