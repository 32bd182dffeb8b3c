"""OPEX, the object detection predictions exchange format.

Source: WaikatoLink2020/objdet-predictions-exchange-format.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from yolo_service.formats.columns import columns, pixel_corners
from yolo_service.predictor.answer import Answer

TIMESTAMP = "%Y%m%d_%H%M%S.%f"
"""How OPEX writes a time."""


def opex(answer: Answer) -> dict[str, Any]:
    """Return an OPEX document, most confident first.

    ``timestamp`` is that of the answer (UTC), ``id`` the image's name. Boxes are in whole pixels
    within the image, and the polygon is the box, clockwise from its upper left corner.
    """
    now = datetime.now(UTC).strftime(TIMESTAMP)
    table = columns(answer)
    # OPEX has no empty labels: a class without a name is called by its number.
    labels = (label or str(i) for label, i in zip(table.labels, table.class_ids, strict=True))
    rows = zip(table.scores, labels, pixel_corners(answer), strict=True)
    return {"timestamp": now, "id": answer.name, "objects": [_opex(*row) for row in rows]}


def _opex(score: float, label: str, edges: list[int]) -> dict[str, Any]:
    left, top, right, bottom = edges
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {
        "score": score,
        "label": label,
        "bbox": {"top": top, "left": left, "bottom": bottom, "right": right},
        "polygon": {"points": points},
    }
