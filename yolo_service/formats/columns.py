"""Detections as plain Python values, ready for JSON or CSV.

Confidences are rounded to 6 decimals and pixels to 3, well below what engines differ by.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from yolo_service.predictor.answer import Answer


class Columns(NamedTuple):
    """Detections as plain values, most confident first."""

    labels: list[str]
    class_ids: list[int]
    scores: list[float]
    boxes: list[list[float]]
    corners: list[list[float]]


SIDES = ("left", "top", "right", "bottom")


def detection_rows(answer: Answer) -> list[dict[str, Any]]:
    """Return a row with label, class_id, confidence and ``SIDES`` for each detection, in pixels."""
    found = columns(answer)
    return [
        {"label": label, "class_id": number, "confidence": score}
        | dict(zip(SIDES, corners, strict=True))
        for label, number, score, corners in zip(
            found.labels, found.class_ids, found.scores, found.corners, strict=True
        )
    ]


def columns(answer: Answer) -> Columns:
    """Return labels, classes, confidences, and boxes by centre and by corners, in pixels."""
    found = answer.detections.by_score()
    return Columns(
        found.labels,
        found.class_ids.tolist(),
        rounded(found.scores, 6),
        rounded(found.boxes, 3),
        rounded(found.corners, 3),
    )


def pixel_corners(answer: Answer) -> list[list[int]]:
    """Return left, top, right and bottom in whole pixels within the image."""
    limits = (answer.width, answer.height) * 2
    corners = np.clip(answer.detections.by_score().corners, 0, limits)
    pixels: list[list[int]] = corners.round().astype(int).tolist()
    return pixels


def rounded(values: npt.NDArray[np.float32], decimals: int) -> list[Any]:
    """Round in double precision: rounded float32 values print with all their digits."""
    rounded: list[Any] = values.astype(np.float64).round(decimals).tolist()
    return rounded
