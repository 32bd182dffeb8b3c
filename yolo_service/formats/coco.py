"""COCO's format of results, as pycocotools and faster-coco-eval read it.

Source: "Results format" on cocodataset.org.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from darknet.names import coco_names
from yolo_service.formats.columns import columns
from yolo_service.predictor.answer import Answer

_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_CATEGORIES = [number for number in range(1, 91) if number not in _GAPS]
"""COCO's ids of the 80 classes that have annotations."""

_COCO_FILE = re.compile(r"(?:COCO_\w+_)?(\d+)")


def coco(answer: Answer) -> list[dict[str, Any]]:
    """Return COCO's results, most confident first.

    ``bbox`` is left, top, width and height in pixels, not clipped to the image. ``image_id`` is the
    number that the image is called by (``000000000042.jpg``, ``COCO_val2014_000000000042.jpg``),
    else the image's name. ``category_id`` is COCO's own for a model of its 80 classes, else the
    number of the class, counted from 1.
    """
    table = columns(answer)
    image_id, ids = _image_id(answer.name), category_ids(answer.detections.names)
    return [
        {
            "image_id": image_id,
            "file_name": answer.name,
            "category_id": ids[number],
            "bbox": [*corners[:2], *box[2:]],
            "score": score,
        }
        for number, score, box, corners in zip(
            table.class_ids, table.scores, table.boxes, table.corners, strict=True
        )
    ]


def category_ids(names: tuple[str, ...]) -> list[int]:
    """Return the category of each class."""
    if len(names) != len(_CATEGORIES):
        return list(range(1, len(names) + 1))
    ends = coco_names(names)[0], coco_names(names)[-1]
    return _CATEGORIES if ends == ("person", "toothbrush") else list(range(1, len(names) + 1))


def _image_id(name: str) -> int | str:
    found = _COCO_FILE.fullmatch(PurePosixPath(name).stem)
    return int(found[1]) if found else name
