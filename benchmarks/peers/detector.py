"""What a program of a few lines does around a runtime: decode, resize, decode boxes, NMS.

Reads what ``benchmarks/peer_model.py`` wrote into a folder: ``model.onnx``, and ``heads.json`` with
the anchors. Written as people write it, with OpenCV's resize, for [yolo] heads only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

FOLDER = Path(os.environ["PEER_MODEL"])
MODEL = FOLDER / "model.onnx"
THRESHOLD, NMS = 0.25, 0.45

Infer = Callable[[Any], list[Any]]
"""Computes float32[1, 3, height, width]; gives each head as float32[1, channels, rows, columns]."""


class Detector:
    """Finds objects in images."""

    def __init__(self, infer: Infer) -> None:
        about = json.loads((FOLDER / "heads.json").read_text())
        self._infer = infer
        self._names, self._size = about["names"], tuple(about["size"])
        self._anchors = [np.array(anchors, np.float32) for anchors in about["anchors"]]

    def detect(self, data: bytes) -> list[Any]:
        """Find objects in an encoded image, see ``find``."""
        return self.find(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))

    def find(self, image: Any) -> list[Any]:
        """Give ``[label, confidence, [cx, cy, w, h]]`` for each object, in pixels.

        Args:
            image: uint8[height, width, 3], blue first.
        """
        tensor = cv2.dnn.blobFromImage(image, 1 / 255, self._size, swapRB=True)
        outputs = self._infer(tensor)
        found = [self._head(*pair) for pair in zip(outputs, self._anchors, strict=True)]
        boxes, scores, classes = (np.concatenate(column) for column in zip(*found, strict=True))
        height, width = image.shape[:2]
        boxes *= (width, height, width, height)
        corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]), axis=1)
        keep = cv2.dnn.NMSBoxesBatched(corners, scores, classes, THRESHOLD, NMS)
        return [[self._names[classes[i]], float(scores[i]), boxes[i].tolist()] for i in keep]

    def _head(self, raw: Any, anchors: Any) -> tuple[Any, Any, Any]:
        _, _, rows, columns = raw.shape
        values = raw.reshape(len(anchors), -1, rows, columns)
        objectness = _logistic(values[:, 4])
        anchor, y, x = np.nonzero(objectness > THRESHOLD)
        picked = values[anchor, :, y, x]
        scores = _logistic(picked[:, 5:]) * objectness[anchor, y, x, None]
        row, classes = np.nonzero(scores > THRESHOLD)
        centre = (_logistic(picked[:, :2]) + np.stack((x, y), 1)) / (columns, rows)
        size = np.exp(picked[:, 2:4]) * anchors[anchor] / self._size
        boxes = np.concatenate((centre, size), 1).astype(np.float32)
        return boxes[row], scores[row, classes].astype(np.float32), classes.astype(np.int32)


def _logistic(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def onnxruntime_infer(threads: int = 0) -> Infer:
    """Load the graph with ONNX Runtime; 0 threads: as many as it likes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(MODEL), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: list(session.run(None, {name: tensor}))
