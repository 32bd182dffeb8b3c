"""This service's own format, with names for all values."""

from __future__ import annotations

from typing import Any

from yolo_service.formats.columns import Columns, columns
from yolo_service.predictor.answer import Answer


def objects(answer: Answer) -> dict[str, Any]:
    """Return the schema ``DetectionObjects`` of swagger.yaml."""
    timings = {name: round(value, 3) for name, value in vars(answer.timings).items()}
    return {
        "model": answer.model,
        "engine": answer.engine,
        "device": answer.device,
        "precision": answer.precision,
        "image": {"width": answer.width, "height": answer.height},
        "detections": _objects(columns(answer)),
        "timings": timings,
    }


def _objects(table: Columns) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "class_id": class_id,
            "confidence": score,
            "box": dict(zip(("x", "y", "width", "height"), box, strict=True)),
            "corners": dict(zip(("left", "top", "right", "bottom"), corners, strict=True)),
        }
        for label, class_id, score, box, corners in zip(*table, strict=True)
    ]
