"""The result of the predictor for one image."""

from __future__ import annotations

from dataclasses import dataclass

from darknet.detections import Detections
from darknet.model import RgbImage


@dataclass(frozen=True)
class Timings:
    """Milliseconds that one image took.

    Attributes:
        fetch_ms: to get the encoded image, as submitted with it; 0 for an upload.
        decode_ms: from bytes to pixels.
        queue_ms: from ``submit`` to the start of decoding.
        inference_ms: in the network, resize and NMS included, of the whole group.
    """

    fetch_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float


@dataclass(frozen=True, eq=False)
class Answer:
    """The detections in one image, and the model that found them.

    Attributes:
        model: name of the model.
        engine: ``libdarknet``, ``openvino`` or ``onnxruntime``.
        device: of the engine, such as ``CPU``.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        width: of the image in pixels, after its orientation was applied.
        height: likewise.
        detections: in pixels of the image.
        timings: of this image.
        name: of the image, such as a file name; empty if it has none.
        pixels: uint8[height, width, 3], red first, if ``Options.keep_image`` asked for them.
    """

    model: str
    engine: str
    device: str
    precision: str
    width: int
    height: int
    detections: Detections
    timings: Timings
    name: str = ""
    pixels: RgbImage | None = None

    @property
    def image(self) -> RgbImage:
        """The decoded image, for drawing.

        Raises:
            ValueError: it was not kept.
        """
        if self.pixels is None:
            raise ValueError("the image was not kept; submit it with Options(keep_image=True)")
        return self.pixels
