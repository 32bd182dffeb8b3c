"""What every engine does: one runtime with one model loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from darknet.detections import Detections
from darknet.model import RgbImage, Thresholds


class Engine(Protocol):
    """A runtime with one model loaded; ``detect`` may be called from several threads at once.

    Attributes:
        name: ``libdarknet``, ``openvino`` or ``onnxruntime``.
        device: where it computes, as the runtime names it, for example ``CPU`` or ``CUDA:0``.
        precision: the number type in use: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    """

    name: str
    device: str
    precision: str

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find objects in images of any size, one ``Detections`` each, in order.

        Args:
            images: each is let go before the next one is asked for.
            thresholds: see ``Thresholds``.

        Raises:
            ImageError: one of them is no image.
            InferenceError: the runtime failed.
        """
        ...

    def close(self) -> None:
        """Give the memory back; ``detect`` must not be called afterwards. May be called twice."""
        ...
