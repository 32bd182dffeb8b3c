"""DeepStack's list of predictions."""

from __future__ import annotations

from typing import Any

from darknet.names import coco_names, has_darknets_coco_names
from yolo_service.formats.columns import columns, pixel_corners
from yolo_service.predictor.answer import Answer


def predictions(answer: Answer) -> list[dict[str, Any]]:
    """Return DeepStack's list, most confident first: corners in whole pixels within the image.

    Labels are COCO's own where the model's list has Darknet's spelling of them: Frigate stops at
    the first label that it does not know, and so loses what is less confident.
    """
    table, edges = columns(answer), pixel_corners(answer)
    names = answer.detections.names
    if has_darknets_coco_names(names):
        names = coco_names(names)
    sides = ("x_min", "y_min", "x_max", "y_max")
    return [
        {"label": names[number], "confidence": score, **dict(zip(sides, corners, strict=True))}
        for number, score, corners in zip(table.class_ids, table.scores, edges, strict=True)
    ]
