"""The engine for runtimes of ONNX graphs: resize, run, decode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from darknet.decode import Decoder
from darknet.detections import Detections, FloatArray
from darknet.errors import InferenceError, UnsupportedError
from darknet.model import Model, RgbImage, Thresholds
from darknet.resize import check_image, resize_pixels_into


class Runner(Protocol):
    """A compiled graph with its own buffers for every thread that calls it.

    Attributes:
        name: the runtime: ``openvino`` or ``onnxruntime``.
        device: the runtime's name of the device.
        precision: the number type in use: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    """

    name: str
    device: str
    precision: str

    def input(self) -> FloatArray:
        """Return the calling thread's input buffer, to be filled before ``infer``.

        Returns:
            float32[batch, height, width, 3] of the network's size, RGB, 0..255; batch is the
            largest number of images per call.
        """

    def infer(self, count: int) -> list[list[FloatArray]]:
        """Compute the first ``count`` images of the calling thread's input.

        Returns:
            For each image the graph's outputs in order, float32[channels, height, width], valid
            until the thread's next call.

        Raises:
            InferenceError: the runtime failed.
        """

    def close(self) -> None:
        """Free the graph and the buffers. May be called twice."""


class GraphEngine:
    """An ``Engine`` that resizes images, runs them through a ``Runner`` and decodes the outputs.

    Attributes:
        runner: the compiled graph, for measurements.
    """

    def __init__(self, model: Model, runner: Runner) -> None:
        self.name, self.device, self.precision = runner.name, runner.device, runner.precision
        self.runner: Runner = runner
        self._resize, self._exact = model.resize, runner.precision == "fp32"
        self._decoder = Decoder(model)
        self._closed = False

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Detect objects; see ``Engine``."""
        if self._closed:
            raise InferenceError("the network was closed; load it again")
        inputs, remaining = self.runner.input(), iter(images)
        found: list[Detections] = []
        while sizes := self._resize_some(remaining, inputs):
            outputs = zip(self.runner.infer(len(sizes)), sizes, strict=True)
            found += [self._decoder.decode(heads, size, thresholds) for heads, size in outputs]
        return found

    def close(self) -> None:
        """Free the memory; see ``Engine``."""
        self._closed = True
        self.runner.close()

    def _resize_some(
        self, remaining: Iterator[RgbImage], inputs: FloatArray
    ) -> list[tuple[int, int]]:
        """Resize images into the batch; return their original heights and widths."""
        sizes: list[tuple[int, int]] = []
        for out in inputs:
            image = next(remaining, _END)
            if image is _END:
                break
            check_image(image)
            resize_pixels_into(image, out, self._resize, exact=self._exact)
            sizes.append(image.shape[:2])
            del image  # free its memory before the next image is decoded
        return sizes


_END: RgbImage = np.empty((0, 0, 3), np.uint8)


def check_input(model: Model) -> None:
    """Check that a network takes colour images.

    Raises:
        UnsupportedError: the input does not have 3 channels.
    """
    channels = model.cfg.net.input.channels
    if channels != 3:
        raise UnsupportedError(
            f"{model.cfg.source}: [net] has channels={channels}; only networks for colour "
            "images, channels=3, are supported"
        )
