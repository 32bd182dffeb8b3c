"""Annotations of Pascal VOC, as labelImg and others write them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import PurePosixPath
from typing import Any

from yolo_service.formats.columns import columns, pixel_corners
from yolo_service.predictor.answer import Answer


def voc(answer: Answer) -> str:
    """Return an XML document, most confident first: corners in whole pixels within the image.

    Each object has its ``confidence``, as VOC's own results do; readers of annotations ignore it.
    """
    path = PurePosixPath(answer.name)
    root = ET.Element("annotation")
    _add(root, folder="" if path.parent == PurePosixPath() else path.parent, filename=path.name)
    _add(ET.SubElement(root, "size"), width=answer.width, height=answer.height, depth=3)
    _add(root, segmented=0)
    table = columns(answer)
    for label, score, edges in zip(table.labels, table.scores, pixel_corners(answer), strict=True):
        found = ET.SubElement(root, "object")
        _add(found, name=label, pose="Unspecified", truncated=0, difficult=0, confidence=score)
        sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
        _add(ET.SubElement(found, "bndbox"), **sides)
    ET.indent(root, "  ")
    return ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, **texts: Any) -> None:
    for tag, value in texts.items():
        ET.SubElement(parent, tag).text = "".join(c if c.isprintable() else "?" for c in str(value))
