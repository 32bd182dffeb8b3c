"""What the conformance suite runs on: engines, devices, precisions, and how exact each has to be.

By default these are all engines on the CPU, and a stand-in for a GPU. With ``YOLO_TEST_DEVICE``,
for example ``cuda``, ``cuda:1`` or ``cuda,tensorrt``, it is ONNX Runtime on these devices alone, in
fp32 and fp16; a device that is missing is an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from darknet.detections import Detections
from darknet.model import EngineName, Precision
from tests.support.gpu import gpu_stand_in


@dataclass(frozen=True)
class Tolerance:
    """How far detections may be from those expected.

    Attributes:
        score: of a confidence.
        pixels: of each number of a box.
        unmatched: part of the rows that may be missing or additional: small differences decide
            about what is next to the threshold, or overlaps a better box just so much.
    """

    score: float
    pixels: float
    unmatched: float = 0.0

    def __or__(self, other: Tolerance) -> Tolerance:
        """Return the larger of each."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Tolerance(*map(max, pairs))


@dataclass(frozen=True)
class Target:
    """An engine on a device in a precision.

    Attributes:
        engine: the engine.
        device: as ``load_network`` takes it; None: the engine's default.
        precision: as ``load_network`` takes it.
        runs_on: name of the device that the network has to answer.
        number_type: what the network has to compute in.
        again: tolerance of its own answers to the same image in another batch.
        darknet: tolerance of Darknet's answers.
        stand_in: the device is ``tests.support.gpu``'s.
    """

    engine: EngineName
    device: str | None = None
    precision: Precision = "fp32"
    runs_on: str = "CPU"
    number_type: str = "fp32"
    again: Tolerance = Tolerance(0, 0)
    darknet: Tolerance = Tolerance(1e-4, 0.1)
    stand_in: bool = False

    def __str__(self) -> str:
        parts = [self.engine, self.device, self.precision if self.device else None]
        return " ".join([*filter(None, parts), *["stand-in"] * self.stand_in])

    def arguments(self) -> dict[str, Any]:
        """Return arguments of ``load_network``."""
        return {"engine": self.engine, "device": self.device, "precision": self.precision}

    def runtime(self) -> AbstractContextManager[object]:
        """Return the context in which its networks are loaded."""
        return gpu_stand_in() if self.stand_in else nullcontext()


FP16 = Tolerance(0.04, 4.0, unmatched=0.15)
"""About three times what rounding to fp16 gives on photos: 95 % of the detections of two trained
networks, computed by the stand-in, are within 0.013 in confidence and 1 pixel."""


def on_gpu(device: str, *, stand_in: bool = False) -> Iterator[Target]:
    """Yield the targets of a GPU: fp32 is as exact as on a CPU, fp16 has tolerances of its own.

    A batch of another size is computed by another algorithm, so the same image need not give the
    same bits.
    """
    runs_on = device.upper() if ":" in device else f"{device.upper()}:0"
    again = Tolerance(1e-5, 0.01)
    yield Target("onnxruntime", device, "fp32", runs_on, "fp32", again, stand_in=stand_in)
    yield Target("onnxruntime", device, "fast", runs_on, "fp16", FP16, FP16, stand_in)


def targets(environment: Mapping[str, str]) -> list[Target]:
    """Return the targets that the environment asks for."""
    devices = [name for name in environment.get("YOLO_TEST_DEVICE", "").split(",") if name]
    if devices:
        return [target for device in devices for target in on_gpu(device)]
    engines: list[EngineName] = ["libdarknet", "openvino", "onnxruntime"]
    return [*map(Target, engines), *on_gpu("cuda", stand_in=True)]


TARGETS = targets(os.environ)
GRAPHS = [target for target in TARGETS if target.engine != "libdarknet"]
EXACT = [target for target in GRAPHS if target.precision == "fp32" and not target.stand_in]


def assert_agree(found: Detections, expected: Detections, tolerance: Tolerance) -> None:
    """Compare detections; without unmatched rows row by row, because engines keep one order."""
    if tolerance.unmatched:
        _assert_most_match(found, expected, tolerance)
        return
    assert found.labels == expected.labels
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=tolerance.score)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=tolerance.pixels)


def _assert_most_match(found: Detections, expected: Detections, tolerance: Tolerance) -> None:
    near = (
        (found.class_ids[:, None] == expected.class_ids)
        & (np.abs(found.scores[:, None] - expected.scores) <= tolerance.score)
        & (np.abs(found.boxes[:, None] - expected.boxes) <= tolerance.pixels).all(2)
    )
    for side, rows in (("additional", near.any(1)), ("missing", near.any(0))):
        allowed = max(1, round(tolerance.unmatched * len(rows)))
        count = int((~rows).sum())
        assert count <= allowed, f"{count} of {len(rows)} rows are {side}, at most {allowed} may be"
