"""The entries of the file that AlexeyAB's ``darknet detector test ... -out result.json`` writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolo_service.formats.columns import columns, rounded
from yolo_service.predictor.answer import Answer


def darknet_json(answer: Answer) -> dict[str, Any]:
    """Return one entry of AlexeyAB's list, most confident first.

    Coordinates are parts of the image's width and height. ``frame_id`` counts the images of a list;
    here it is 1.
    """
    table = columns(answer)
    size = np.array((answer.width, answer.height) * 2, np.float32)
    shares = rounded(answer.detections.by_score().boxes / size, 6)
    members = ("center_x", "center_y", "width", "height")
    return {
        "frame_id": 1,
        "filename": answer.name,
        "objects": [
            {
                "class_id": number,
                "name": label,
                "relative_coordinates": dict(zip(members, share, strict=True)),
                "confidence": score,
            }
            for number, label, share, score in zip(
                table.class_ids, table.labels, shares, table.scores, strict=True
            )
        ],
    }
