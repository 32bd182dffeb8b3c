"""Output formats: functions from ``Answer`` to plain values, ready for JSON, or to text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from yolo_service.formats.coco import coco
from yolo_service.formats.counts import counts
from yolo_service.formats.darknet import darknet
from yolo_service.formats.darknet_json import darknet_json
from yolo_service.formats.deepstack import predictions
from yolo_service.formats.json import to_json
from yolo_service.formats.objects import objects
from yolo_service.formats.opex import opex
from yolo_service.formats.rois import rois
from yolo_service.formats.voc import voc
from yolo_service.formats.yolo import yolo
from yolo_service.predictor.answer import Answer

__all__ = ["FORMATS", "Format", "counts", "darknet", "objects", "opex", "predictions", "rois"]


class Format(NamedTuple):
    """One form of an answer.

    Attributes:
        make: returns plain values for JSON, or text.
        suffix: of a file with one answer.
        media_type: of a response with one answer.
    """

    make: Callable[[Answer], Any]
    suffix: str = ".json"
    media_type: str = "application/json"

    @property
    def is_json(self) -> bool:
        """Whether several answers can be put into one list."""
        return self.suffix == ".json"

    def encode(self, answer: Answer) -> bytes:
        """Return an answer as a file: UTF-8, with a line's end at its end."""
        value = self.make(answer)
        return value.encode() if isinstance(value, str) else to_json(value)


FORMATS = {
    "darknet": Format(darknet),
    "objects": Format(objects),
    "opex": Format(opex),
    "rois": Format(rois, ".csv", "text/csv"),
    "coco": Format(coco),
    "darknet-json": Format(darknet_json),
    "voc": Format(voc, ".xml", "application/xml"),
    "yolo": Format(yolo, ".txt", "text/plain"),
}
"""Formats by the value of ``format`` in a request, and of ``--format``."""
