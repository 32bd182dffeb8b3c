"""What the engines that run an ONNX graph have in common: everything but the runtime."""

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
    """A compiled graph, with buffers of its own for every thread that calls it.

    Attributes:
        name: of the runtime: ``openvino`` or ``onnxruntime``.
        device: where it computes, as the runtime names it.
        precision: the number type in use: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    """

    name: str
    device: str
    precision: str

    def input(self) -> FloatArray:
        """Return the calling thread's input, to be written before ``infer``.

        Returns:
            float32[batch, height, width, 3] of the network's size, red first, 0..255; batch is how
            many images the runtime likes to get at once.
        """
        ...

    def infer(self, count: int) -> list[list[FloatArray]]:
        """Compute the first ``count`` images of the calling thread's input.

        Returns:
            For each image the graph's outputs in order, float32[channels, height, width]. They
            may be views of buffers that the thread's next call overwrites.

        Raises:
            InferenceError: the runtime failed.
        """
        ...

    def close(self) -> None:
        """Give the memory back. May be called twice."""
        ...


class GraphEngine:
    """An ``Engine``: images are resized, run through a ``Runner``, and decoded.

    Attributes:
        name: see ``Engine``.
        device: see ``Engine``.
        precision: see ``Engine``.
        runner: the compiled graph, for measurements.
    """

    def __init__(self, model: Model, runner: Runner) -> None:
        self.name, self.device, self.precision = runner.name, runner.device, runner.precision
        self.runner: Runner = runner
        self._resize, self._exact = model.resize, runner.precision == "fp32"
        self._decoder = Decoder(model)
        self._closed = False

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find objects; see ``Engine``."""
        if self._closed:
            raise InferenceError("the network was closed; load it again")
        inputs, waiting = self.runner.input(), iter(images)
        found: list[Detections] = []
        while sizes := self._resize_some(waiting, inputs):
            outputs = zip(self.runner.infer(len(sizes)), sizes, strict=True)
            found += [self._decoder.decode(heads, size, thresholds) for heads, size in outputs]
        return found

    def close(self) -> None:
        """Give the memory back; see ``Engine``."""
        self._closed = True
        self.runner.close()

    def _resize_some(
        self, waiting: Iterator[RgbImage], inputs: FloatArray
    ) -> list[tuple[int, int]]:
        """Resize as many images as there is place for; returns their own heights and widths."""
        sizes: list[tuple[int, int]] = []
        for out in inputs:
            image = next(waiting, _NO_MORE)
            if image is _NO_MORE:
                break
            check_image(image)
            resize_pixels_into(image, out, self._resize, exact=self._exact)
            sizes.append(image.shape[:2])
            del image  # or it would be in memory while the next one is decoded
        return sizes


_NO_MORE: RgbImage = np.empty((0, 0, 3), np.uint8)


def check_input(model: Model) -> None:
    """Refuse a network that images cannot be given to.

    Raises:
        UnsupportedError: the input has not 3 channels.
    """
    channels = model.cfg.net.input.channels
    if channels != 3:
        raise UnsupportedError(
            f"{model.cfg.source}: [net] has channels={channels}; only colour images, channels=3, "
            "can be given to a network here"
        )
