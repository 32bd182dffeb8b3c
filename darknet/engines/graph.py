"""What the engines that run an ONNX graph have in common: everything but the runtime."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from darknet.decode import Decoder
from darknet.detections import Detections, FloatArray
from darknet.engines.base import Model, RgbImage, Thresholds
from darknet.errors import InferenceError, UnsupportedError
from darknet.image import check_image, resize_into


class Runner(Protocol):
    """A compiled graph; ``infer`` may be called from several threads at once.

    Attributes:
        name: of the runtime: ``openvino`` or ``onnxruntime``.
        device: where it computes, as the runtime names it.
        precision: the number type in use: ``fp32``, ``bf16`` or ``fp16``.
        batch: how many pictures it likes to get at once, at least 1.
    """

    name: str
    device: str
    precision: str
    batch: int

    def infer(self, pictures: FloatArray) -> list[list[FloatArray]]:
        """Compute the inputs of the heads.

        Args:
            pictures: float32[n, 3, height, width] of the network's size, red first, 0..1,
                contiguous; not changed, and to be left alone until this returns.

        Returns:
            For each picture the graph's outputs in order, float32[channels, height, width]. They
            may be views of buffers that the next call from the same thread overwrites.

        Raises:
            InferenceError: the runtime failed.
        """
        ...

    def close(self) -> None:
        """Give the memory back. May be called twice."""
        ...


class GraphEngine:
    """An ``Engine``: pictures are resized, run through a ``Runner``, and decoded.

    Attributes:
        name: see ``Engine``.
        device: see ``Engine``.
        precision: see ``Engine``.
        runner: the compiled graph, for measurements.
    """

    def __init__(self, model: Model, runner: Runner) -> None:
        self.name, self.device, self.precision = runner.name, runner.device, runner.precision
        self.runner: Runner = runner
        self._shape = model.cfg.net.input
        self._resize = model.resize
        self._decoder = Decoder(model)
        self._buffers = threading.local()
        self._closed = False

    def detect(self, images: Sequence[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find objects; see ``Engine``."""
        if self._closed:
            raise InferenceError("the network was closed; load it again")
        for image in images:
            check_image(image)
        step = self.runner.batch
        parts = (images[start : start + step] for start in range(0, len(images), step))
        return [found for part in parts for found in self._detect(part, thresholds)]

    def close(self) -> None:
        """Give the memory back; see ``Engine``."""
        self._closed = True
        self._buffers = threading.local()
        self.runner.close()

    def _detect(self, images: Sequence[RgbImage], thresholds: Thresholds) -> list[Detections]:
        pictures = self._buffer()[: len(images)]
        for image, picture in zip(images, pictures, strict=True):
            resize_into(image, picture, self._resize)
        outputs = self.runner.infer(pictures)
        return [
            self._decoder.decode(heads, image.shape[:2], thresholds)
            for heads, image in zip(outputs, images, strict=True)
        ]

    def _buffer(self) -> FloatArray:
        """The calling thread's input: a new array for every call would cost page faults."""
        buffer: FloatArray | None = getattr(self._buffers, "pictures", None)
        if buffer is None:
            buffer = np.empty((self.runner.batch, *self._shape), np.float32)
            self._buffers.pictures = buffer
        return buffer


def check_input(model: Model) -> None:
    """Refuse a network that pictures cannot be given to.

    Raises:
        UnsupportedError: the input has not 3 channels.
    """
    channels = model.cfg.net.input.channels
    if channels != 3:
        raise UnsupportedError(
            f"{model.cfg.source}: [net] has channels={channels}; only colour pictures, channels=3, "
            "can be given to a network here"
        )
