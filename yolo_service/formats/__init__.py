"""Output formats: functions from ``Answer`` to plain values, ready for JSON, or to text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yolo_service.formats.counts import counts
from yolo_service.formats.darknet import darknet
from yolo_service.formats.deepstack import predictions
from yolo_service.formats.objects import objects
from yolo_service.formats.opex import opex
from yolo_service.formats.rois import rois
from yolo_service.predictor.answer import Answer

__all__ = ["FORMATS", "counts", "darknet", "objects", "opex", "predictions", "rois"]

FORMATS: dict[str, Callable[[Answer], Any]] = {
    "darknet": darknet,
    "objects": objects,
    "opex": opex,
    "rois": rois,
}
"""Formats by the value of ``format`` in a request."""
