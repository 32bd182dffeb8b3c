"""A model in memory, and how it leaves."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from darknet.detections import Detections
from darknet.errors import DarknetError
from darknet.model import RgbImage, Thresholds
from darknet.network import Network
from yolo_service import metrics
from yolo_service.errors import ModelUnavailable
from yolo_service.models.folder import ModelFiles
from yolo_service.predictor.timed import Timed

log = logging.getLogger(__name__)


class LoadedModel:
    """A network with its name and options, which is closed only when nobody computes with it.

    Who forgets the last reference closes it, so a model that is unloaded still serves the requests
    that were accepted for it.

    Attributes:
        name: what requests call it.
        network: names, input size, engine, device and precision are its attributes.
        options: what model.yaml says.
        size: bytes of its weights, which is about what it takes of the memory.
        last_used: ``time.monotonic()`` of its loading or its latest image.
        failing: whether the engine failed with the latest image.
    """

    def __init__(self, files: ModelFiles, network: Network) -> None:
        self.name, self.options, self.network = files.name, files.options, network
        self.size = files.weights.stat().st_size
        self.last_used = time.monotonic()
        self.failing = False
        weakref.finalize(self, network.close)
        self._users = 0
        self._closed = False
        self._changed = threading.Condition()

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find objects; see ``darknet.Network.detect``.

        Raises:
            ModelUnavailable: the model was closed, or its engine failed.
        """
        with self._use():
            try:
                found = self._detect(images, thresholds)
            except Exception as error:
                self.failing = True
                log.error("model %s failed: %s", self.name, error)
                if isinstance(error, DarknetError):
                    raise ModelUnavailable(f"model {self.name}: {error}") from error
                raise
        if found:
            self.failing = False
        return found

    def _detect(self, images: Iterable[RgbImage], limits: Thresholds) -> list[Detections]:
        before, timed = time.monotonic(), Timed(images)
        found = self.network.detect(timed, limits.threshold, limits.nms, limits.hier_threshold)
        if found:
            seconds = time.monotonic() - before - timed.seconds
            metrics.INFERENCE_SECONDS.labels(self.name).observe(seconds)
            metrics.count_detections(self.name, found)
        return found

    def close(self) -> None:
        """Wait for those who compute, then give the memory back."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.wait_for(lambda: self._users == 0)
        self.network.close()

    @contextmanager
    def _use(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise ModelUnavailable(f"model {self.name} was closed meanwhile; try again")
            self._users += 1
        try:
            yield
        finally:
            self.last_used = time.monotonic()
            with self._changed:
                self._users -= 1
                self._changed.notify_all()
