"""A model in memory, with the number of its users."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from darknet.detections import Detections
from darknet.errors import DarknetError
from darknet.model import RgbImage, Thresholds
from darknet.network import Network
from yolo_service.errors import ModelUnavailable
from yolo_service.models.folder import ModelFiles

log = logging.getLogger(__name__)

_SMOOTHING = 0.5
"""Weight of the latest measurement in ``seconds_per_image``."""


class LoadedModel:
    """A network with its name and options.

    Each queued image holds its model: an unloaded model is closed when the last image has released
    it, and never while native code computes with it.

    Args:
        files: what it was loaded from.
        network: what computes.
        on_unused: called in any thread when the last holder of an unloaded model has released it;
            closes the network.

    Attributes:
        name: of the model in requests.
        size: bytes of its weights, which is about the memory that it takes.
        last_used: ``time.monotonic()`` of its loading or its latest image.
        failing: whether the engine failed with the latest image.
        seconds_per_image: recent time of a worker per image; infinite before the first.
    """

    def __init__(
        self, files: ModelFiles, network: Network, on_unused: Callable[[LoadedModel], None]
    ) -> None:
        self.name, self.options, self.network = files.name, files.options, network
        self.size = files.weights.stat().st_size
        self.last_used = time.monotonic()
        self.failing = False
        self.seconds_per_image = math.inf
        self._on_unused = on_unused
        self._holders = 0
        self._unloaded = False
        self._lock = threading.Lock()

    @property
    def description(self) -> str:
        """Name, engine, device and precision, for the log."""
        network = self.network
        engine = f"{network.engine_name} on {network.device} in {network.precision}"
        return f"{self.name} with {engine}"

    def acquire(self) -> bool:
        """Hold the model until ``release``; returns False if it was unloaded and may be closed."""
        with self._lock:
            if self._unloaded and self._holders == 0:
                return False
            self._holders += 1
            return True

    def release(self) -> None:
        """End a hold."""
        with self._lock:
            self._holders -= 1
            is_unused = self._unloaded and self._holders == 0
        if is_unused:
            self._on_unused(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the model for a block.

        Raises:
            ModelUnavailable: it was unloaded.
        """
        if not self.acquire():
            raise ModelUnavailable(f"model {self.name} was unloaded meanwhile; try again")
        try:
            yield
        finally:
            self.release()

    def unload(self) -> bool:
        """Have the last holder close it; returns True if there is none: the caller closes it."""
        with self._lock:
            self._unloaded = True
            return self._holders == 0

    @property
    def is_held(self) -> bool:
        """Whether an image is computed with it or queued for it."""
        return self._holders > 0

    def detect(self, images: Iterable[RgbImage], limits: Thresholds) -> list[Detections]:
        """Find objects; see ``darknet.Network.detect``. The caller holds the model.

        Raises:
            ModelUnavailable: its engine failed.
        """
        try:
            found = self.network.detect(images, limits.threshold, limits.nms, limits.hier_threshold)
        except Exception as error:
            self.failing = True
            log.error("model %s failed: %s", self.name, error)
            if isinstance(error, DarknetError):
                raise ModelUnavailable(f"model {self.name}: {error}") from error
            raise
        finally:
            self.last_used = time.monotonic()
        if found:
            self.failing = False
        return found

    def observe(self, images: int, seconds: float) -> None:
        """Update ``seconds_per_image`` with a group of computed images."""
        latest, before = seconds / images, self.seconds_per_image
        if before < math.inf:
            latest = _SMOOTHING * latest + (1 - _SMOOTHING) * before
        self.seconds_per_image = latest
