"""Detection in files, without a server: what ``yolo-service detect`` does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from darknet.model import Thresholds
from darknet.network import Network
from yolo_service.errors import ServiceError
from yolo_service.formats import objects
from yolo_service.images.decode import decode
from yolo_service.images.draw import draw, encode
from yolo_service.predictor.answer import Answer, Timings


@dataclass(frozen=True)
class FileDetector:
    """Detects in one file after the other.

    Attributes:
        network: what detects.
        model: its name.
        thresholds: limits of every image.
        max_pixels: largest image, width * height.
        folder: where images with drawn boxes go, as PNG; None: nowhere.
    """

    network: Network
    model: str
    thresholds: Thresholds
    max_pixels: int
    folder: Path | None = None

    def answers(self, paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
        """Yield ``file`` and what ``format=objects`` has, or ``file`` and ``error``, in order."""
        for path in paths:
            try:
                answer = objects(self._detect(path))
            except (OSError, ServiceError) as error:
                answer = {"error": str(error)}
            yield {"file": str(path), **answer}

    def _detect(self, path: Path) -> Answer:
        clock = [time.perf_counter()]
        data = path.read_bytes()
        clock.append(time.perf_counter())
        image = decode(data, max_pixels=self.max_pixels)
        clock.append(time.perf_counter())
        limits = self.thresholds
        found = self.network.detect([image], limits.threshold, limits.nms, limits.hier_threshold)[0]
        clock.append(time.perf_counter())
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            drawn = self.folder / f"{path.stem}.png"
            drawn.write_bytes(encode(draw(image, found), "png"))
        fetch, decoding, inference = (1e3 * (b - a) for a, b in pairwise(clock))
        return Answer(
            model=self.model,
            engine=self.network.engine_name,
            device=self.network.device,
            precision=self.network.precision,
            width=image.shape[1],
            height=image.shape[0],
            detections=found,
            timings=Timings(fetch, decoding, 0.0, inference),
        )
