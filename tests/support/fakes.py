"""Stand-ins for what is slow or heavy behind the service, shipped for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from darknet.detections import Detections
from darknet.errors import InferenceError
from darknet.model import RgbImage, Thresholds
from darknet.network import Network, load_model
from yolo_service.models.folder import ModelFiles

GREY = np.full((8, 16, 3), 128, np.uint8)
"""An image 16 wide and 8 high."""


def detections(*scores: float) -> Detections:
    """Make detections of the class "dog", one per score."""
    n = len(scores)
    boxes = np.tile(np.array([10, 20, 4, 8], np.float32), (n, 1))
    return Detections(boxes, np.array(scores, np.float32), np.ones(n, np.int32), ("cat", "dog"))


@dataclass
class FakeEngine:
    """An ``Engine`` that counts, and that computes only while it is allowed to.

    Attributes:
        go: calls wait for this event; set from the start unless a test clears it.
        entered: released once per call that has begun.
        calls: number of images of each call.
        error: raised by every call if given.
        seconds: that every image takes.
        closed_by: name of the thread that closed it.
    """

    name: str = "openvino"
    device: str = "CPU"
    precision: str = "fp32"
    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    calls: list[int] = field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0
    closed_by: str | None = None

    def __post_init__(self) -> None:
        self.go.set()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self.closed_by is not None

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find one dog per image, as confident as the threshold."""
        if self.closed_by:
            raise InferenceError("the network was closed; load it again")
        count = len(list(images))
        self.calls.append(count)
        self.entered.release()
        assert self.go.wait(10)
        assert self.closed_by is None, "closed while it computed"
        time.sleep(count * self.seconds)
        if self.error:
            raise self.error
        return [detections(thresholds.threshold) for _ in range(count)]

    def close(self) -> None:
        """Remember which thread closes it."""
        self.closed_by = threading.current_thread().name

    def network(self, files: ModelFiles) -> Network:
        """Load a model's real files into this engine."""
        return Network(load_model(files.cfg, files.weights, files.names), self)
