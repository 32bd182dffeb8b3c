"""The classic yolo_service format: a list per detection."""

from __future__ import annotations

from typing import Any

from yolo_service.formats.columns import columns
from yolo_service.predictor.answer import Answer


def darknet(answer: Answer) -> list[list[Any]]:
    """Return the classic ``[[label, confidence, [cx, cy, w, h]], ...]``, most confident first.

    Boxes are centre x, centre y, width and height in pixels of the image.
    """
    table = columns(answer)
    return [list(row) for row in zip(table.labels, table.scores, table.boxes, strict=True)]
