"""What the predictor answers for one image."""

from __future__ import annotations

from dataclasses import dataclass

from darknet.detections import Detections


@dataclass(frozen=True)
class Timings:
    """Milliseconds spent; ``fetch`` is 0 for an upload."""

    fetch_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float


@dataclass(frozen=True, eq=False)
class Answer:
    """Everything that a format may tell.

    Attributes:
        model: name of the model.
        engine: ``libdarknet``, ``openvino`` or ``onnxruntime``.
        device: where it computed.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        width: of the image in pixels, after its orientation was applied.
        height: likewise.
        detections: what was found.
        timings: how long it took.
        name: of the image, as the client calls it: a file name, empty if it has none.
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
