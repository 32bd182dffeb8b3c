"""Detections to the formats that clients read.

A format is a function from ``Answer`` to plain Python values, ready for JSON, or to a text.
Confidences are rounded to 6 decimals and pixels to 3, well below what engines differ by.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

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
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        width: of the picture in pixels, after its orientation was applied.
        height: likewise.
        detections: what was found.
        timings: how long it took.
        name: of the picture, as the client calls it: a file name, empty if it has none.
    """

    model: str
    engine: str
    device: str
    precision: str
    width: int
    height: int
    detections: Detections
    timings: Timings
    name: str = ""


class Columns(NamedTuple):
    """Detections as plain values, most confident first."""

    labels: list[str]
    class_ids: list[int]
    scores: list[float]
    boxes: list[list[float]]
    corners: list[list[float]]


def columns(answer: Answer) -> Columns:
    """Give labels, classes, confidences, and boxes by centre and by corners."""
    found = answer.detections.by_score()
    return Columns(
        found.labels,
        found.class_ids.tolist(),
        _rounded(found.scores, 6),
        _rounded(found.boxes, 3),
        _rounded(found.corners, 3),
    )


def darknet(answer: Answer) -> list[list[Any]]:
    """Give the classic ``[[label, confidence, [cx, cy, w, h]], ...]``, most confident first.

    Boxes are centre x, centre y, width and height in pixels of the picture.
    """
    table = columns(answer)
    return [list(row) for row in zip(table.labels, table.scores, table.boxes, strict=True)]


def predictions(answer: Answer) -> list[dict[str, Any]]:
    """Give DeepStack's list, most confident first: corners in whole pixels within the picture."""
    table = columns(answer)
    names = ("x_min", "y_min", "x_max", "y_max")
    return [
        {"label": label, "confidence": score, **dict(zip(names, edges, strict=True))}
        for label, score, edges in zip(table.labels, table.scores, _pixels(answer), strict=True)
    ]


def counts(answer: Answer) -> dict[str, int]:
    """Give the number of detections of every class of the model, by name."""
    found = Counter(answer.detections.labels)
    return {name: found[name] for name in answer.detections.names}


def objects(answer: Answer) -> dict[str, Any]:
    """Give an object that explains itself; schema ``DetectionObjects`` of swagger.yaml."""
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


def opex(answer: Answer) -> dict[str, Any]:
    """Give the object detection predictions exchange format, most confident first.

    ``timestamp`` is that of the answer (UTC), ``id`` the picture's name. Boxes are in whole pixels
    within the picture, and the polygon is the box, clockwise from its upper left corner.

    Source: WaikatoLink2020/objdet-predictions-exchange-format.
    """
    now = datetime.now(UTC).strftime("%Y%m%d_%H%M%S.%f")
    table = columns(answer)
    rows = zip(table.scores, _labels(table), _pixels(answer), strict=True)
    return {"timestamp": now, "id": answer.name, "objects": [_opex(*row) for row in rows]}


def rois(answer: Answer) -> str:
    """Give regions of interest as CSV, most confident first; no detections are a header only.

    ``file,x0,y0,x1,y1,x0n,y0n,x1n,y1n,label,label_str,score``: the picture's name, the left, upper,
    right and lower edge in pixels, the same as parts of the picture's width and height, number and
    name of the class, and confidence. Not clipped to the picture.

    Source: waikato-ufdl/wai-annotations-roi.
    """
    table = columns(answer)
    size = np.array((answer.width, answer.height) * 2, np.float32)
    shares = _rounded(answer.detections.by_score().corners / size, 6)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow("file x0 y0 x1 y1 x0n y0n x1n y1n label label_str score".split())
    for edges, share, number, label, score in zip(
        table.corners, shares, table.class_ids, table.labels, table.scores, strict=True
    ):
        writer.writerow((answer.name, *edges, *share, number, label, score))
    return text.getvalue()


FORMATS: dict[str, Callable[[Answer], Any]] = {
    "darknet": darknet,
    "objects": objects,
    "opex": opex,
    "rois": rois,
}
"""What ``format=`` of a request may name."""


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


def _opex(score: float, label: str, edges: list[int]) -> dict[str, Any]:
    left, top, right, bottom = edges
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {
        "score": score,
        "label": label,
        "bbox": {"top": top, "left": left, "bottom": bottom, "right": right},
        "polygon": {"points": points},
    }


def _labels(table: Columns) -> list[str]:
    """Give labels that are not empty: a class without a name is called by its number."""
    return [label or str(i) for label, i in zip(table.labels, table.class_ids, strict=True)]


def _pixels(answer: Answer) -> list[list[int]]:
    """Give left, top, right and bottom in whole pixels within the picture."""
    limits = (answer.width, answer.height) * 2
    corners = np.clip(answer.detections.by_score().corners, 0, limits)
    pixels: list[list[int]] = corners.round().astype(int).tolist()
    return pixels


def _rounded(values: npt.NDArray[np.float32], decimals: int) -> list[Any]:
    """Round in double precision: rounded float32 values print with all their digits."""
    rounded: list[Any] = values.astype(np.float64).round(decimals).tolist()
    return rounded
