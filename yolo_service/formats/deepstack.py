"""DeepStack's list of predictions."""

from __future__ import annotations

from typing import Any

from yolo_service.formats.columns import columns, pixel_corners
from yolo_service.predictor.answer import Answer


def predictions(answer: Answer) -> list[dict[str, Any]]:
    """Return DeepStack's list, most confident first: corners in whole pixels within the image."""
    table, edges = columns(answer), pixel_corners(answer)
    names = ("x_min", "y_min", "x_max", "y_max")
    return [
        {"label": label, "confidence": score, **dict(zip(names, corners, strict=True))}
        for label, score, corners in zip(table.labels, table.scores, edges, strict=True)
    ]
