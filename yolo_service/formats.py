"""Detections to the formats that clients read.

A format is a function from ``Answer`` to plain Python values, ready for JSON. Confidences are
rounded to 6 decimals and pixels to 3, well below what engines differ by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from darknet.detections import Detections


@dataclass(frozen=True)
class Timings:
    """Milliseconds spent; ``fetch`` is 0 for an upload."""

    fetch_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float


@dataclass(frozen=True, eq=False)
class Answer:
    """Everything that a format may tell.

    Attributes:
        model: name of the model.
        engine: ``libdarknet``, ``openvino`` or ``onnxruntime``.
        device: where it computed.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        width: of the picture in pixels, after its orientation was applied.
        height: likewise.
        detections: what was found.
        timings: how long it took.
    """

    model: str
    engine: str
    device: str
    precision: str
    width: int
    height: int
    detections: Detections
    timings: Timings


def darknet(answer: Answer) -> list[list[Any]]:
    """Give the classic ``[[label, confidence, [cx, cy, w, h]], ...]``, most confident first.

    Boxes are centre x, centre y, width and height in pixels of the picture.
    """
    found = answer.detections.by_score()
    scores, boxes = _rounded(found.scores, 6), _rounded(found.boxes, 3)
    return [list(item) for item in zip(found.labels, scores, boxes, strict=True)]


def objects(answer: Answer) -> dict[str, Any]:
    """Give an object that explains itself; schema ``DetectionObjects`` of swagger.yaml."""
    timings = {name: round(value, 3) for name, value in vars(answer.timings).items()}
    return {
        "model": answer.model,
        "engine": answer.engine,
        "device": answer.device,
        "precision": answer.precision,
        "image": {"width": answer.width, "height": answer.height},
        "detections": _objects(answer.detections.by_score()),
        "timings": timings,
    }


FORMATS: dict[str, Callable[[Answer], Any]] = {"darknet": darknet, "objects": objects}
"""What ``format=`` of a request may name."""


def _objects(found: Detections) -> list[dict[str, Any]]:
    columns = zip(
        found.labels,
        found.class_ids.tolist(),
        _rounded(found.scores, 6),
        _rounded(found.boxes, 3),
        _rounded(found.corners, 3),
        strict=True,
    )
    return [
        {
            "label": label,
            "class_id": class_id,
            "confidence": score,
            "box": dict(zip(("x", "y", "width", "height"), box, strict=True)),
            "corners": dict(zip(("left", "top", "right", "bottom"), corners, strict=True)),
        }
        for label, class_id, score, box, corners in columns
    ]


def _rounded(values: npt.NDArray[np.float32], decimals: int) -> list[Any]:
    """Round in double precision: rounded float32 values print with all their digits."""
    rounded: list[Any] = values.astype(np.float64).round(decimals).tolist()
    return rounded
