"""Stand-ins for what is slow or heavy behind the service, shipped for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from darknet.detections import Detections
from darknet.model import RgbImage, Thresholds

GREY = np.full((8, 16, 3), 128, np.uint8)
"""An image 16 wide and 8 high."""


def detections(*scores: float) -> Detections:
    """Make detections of the class "dog", one per score."""
    n = len(scores)
    boxes = np.tile(np.array([10, 20, 4, 8], np.float32), (n, 1))
    return Detections(boxes, np.array(scores, np.float32), np.ones(n, np.int32), ("cat", "dog"))


@dataclass
class FakeModel:
    """A detector that counts, and that waits until it is let go.

    Attributes:
        go: calls wait for this event; set from the start unless a test clears it.
        entered: released once per call that has begun.
        batches: number of images of each call.
        error: raised by every call if given.
        seconds: that every image takes.
    """

    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[int] = field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.go.set()

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find one dog per image, as confident as the threshold."""
        count = len(list(images))
        self.batches.append(count)
        self.entered.release()
        assert self.go.wait(10)
        time.sleep(count * self.seconds)
        if self.error:
            raise self.error
        return [detections(thresholds.threshold) for _ in range(count)]
