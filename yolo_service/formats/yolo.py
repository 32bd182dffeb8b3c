"""Labels as Darknet's training reads them."""

from __future__ import annotations

import numpy as np

from yolo_service.formats.columns import columns
from yolo_service.predictor.answer import Answer


def yolo(answer: Answer) -> str:
    """Return a line ``class x y width height`` for each detection, most confident first.

    Centre and size are parts of the image's width and height. Boxes are clipped to the image, and
    those that lie outside of it are left out: training refuses both.
    """
    size = np.array((answer.width, answer.height) * 2, np.float64)
    corners = np.nan_to_num(np.clip(answer.detections.by_score().corners / size, 0.0, 1.0))
    lines = []
    for number, (left, top, right, bottom) in zip(columns(answer).class_ids, corners, strict=True):
        if right > left and bottom > top:
            box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            lines.append(f"{number} {' '.join(f'{value:.6f}' for value in box)}\n")
    return "".join(lines)
