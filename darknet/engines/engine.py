"""The protocol of all engines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from darknet.detections import Detections
from darknet.model import RgbImage, Thresholds


class Engine(Protocol):
    """A runtime with one loaded model; several threads may call ``detect`` concurrently.

    Attributes:
        name: ``libdarknet``, ``openvino`` or ``onnxruntime``.
        device: the runtime's name of the device, for example ``CPU`` or ``CUDA:0``.
        precision: the number type in use: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    """

    name: str
    device: str
    precision: str

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Detect objects in images of any size; return one ``Detections`` each, in order.

        Args:
            images: each is released before the next one is taken.
            thresholds: see ``Thresholds``.

        Raises:
            ImageError: an element is not an RGB uint8 image.
            InferenceError: the runtime failed.
        """

    def close(self) -> None:
        """Free the model; ``detect`` must not be called afterwards. May be called twice."""
