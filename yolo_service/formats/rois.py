"""Regions of interest as CSV.

Source: waikato-ufdl/wai-annotations-roi.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from yolo_service.formats.columns import columns, rounded
from yolo_service.predictor.answer import Answer

COLUMNS = tuple("file x0 y0 x1 y1 x0n y0n x1n y1n label label_str score".split())


def rois(answer: Answer) -> str:
    """Return CSV, most confident first; without detections the header only.

    ``file,x0,y0,x1,y1,x0n,y0n,x1n,y1n,label,label_str,score``: the image's name, the left, upper,
    right and lower edge in pixels, the same as parts of the image's width and height, number and
    name of the class, and confidence. Not clipped to the image.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(roi_rows(answer))
    return text.getvalue()


def roi_rows(answer: Answer) -> list[tuple[Any, ...]]:
    """Return the values of ``COLUMNS`` for each detection, most confident first."""
    table = columns(answer)
    size = np.array((answer.width, answer.height) * 2, np.float32)
    shares = rounded(answer.detections.by_score().corners / size, 6)
    return [
        (answer.name, *edges, *share, number, label, score)
        for edges, share, number, label, score in zip(
            table.corners, shares, table.class_ids, table.labels, table.scores, strict=True
        )
    ]
