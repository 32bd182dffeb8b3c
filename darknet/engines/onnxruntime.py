"""ONNX Runtime: the engine for NVIDIA GPUs (CUDA, TensorRT), and for CPUs of any kind."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from darknet.detections import FloatArray
from darknet.engines.graph import GraphEngine, check_input
from darknet.errors import (
    DeviceUnavailableError,
    EngineError,
    EngineUnavailableError,
    InferenceError,
)
from darknet.model import Model, Precision
from darknet.onnx import INPUT, build_onnx
from darknet.resize import to_planes

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_GPU_NEEDS = "NVIDIA GPUs need a driver and the package onnxruntime-gpu[cuda,cudnn]"
GPU_BATCH = 8
"""Most images that a GPU gets at once; bounds the memory of a call."""


@dataclass(frozen=True)
class Device:
    """A device of this engine: ``cpu``, ``cuda:0``, ``tensorrt:1``."""

    kind: str
    number: int

    @property
    def provider(self) -> str:
        """ONNX Runtime's word for it."""
        return _PROVIDERS[self.kind]

    def __str__(self) -> str:
        return "CPU" if self.kind == "cpu" else f"{self.kind.upper()}:{self.number}"


def load(
    model: Model, *, device: str | None, precision: Precision, streams: int | None
) -> GraphEngine:
    """Compile a model with ONNX Runtime.

    Args:
        model: the network.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt`` or ``tensorrt:1``; None is the CPU.
        precision: ``fp32`` (without TF32, so that GPUs answer as CPUs do), or ``fast`` for fp16
            on GPUs; CPUs stay with fp32. The engine's ``precision`` says what it became.
        streams: how many calls of ``detect`` to expect at once; the CPU's cores are shared
            between them.

    Raises:
        EngineUnavailableError: the package is missing or broken.
        DeviceUnavailableError: the device is missing, or ONNX Runtime could not start it.
        UnsupportedError: the network has a layer that a graph cannot have.
        EngineError: ONNX Runtime refused the graph.
    """
    check_input(model)
    runtime = _runtime()
    place = _find_device(runtime, device or "cpu")
    half = precision == "fast" and place.kind != "cpu"
    if place.kind == "tensorrt" and not half:
        _check_tf32()
    graph = build_onnx(model, half=half)
    session = _session(runtime, graph, place, half=half, streams=streams or 1)
    if place.provider not in session.get_providers():
        raise DeviceUnavailableError(
            f"onnxruntime could not start {place}, only {session.get_providers()}; {_GPU_NEEDS}"
        )
    return GraphEngine(model, OnnxRuntimeRunner(session, place, half=half))


class OnnxRuntimeRunner:
    """A session, which may be run from several threads at once."""

    name = "onnxruntime"

    def __init__(self, session: Any, device: Device, *, half: bool) -> None:
        self._session = session
        batch = 1 if device.kind == "cpu" else GPU_BATCH
        _, channels, height, width = session.get_inputs()[0].shape
        self._planes, self._pixels = (
            (batch, channels, height, width),
            (batch, height, width, channels),
        )
        self._threads = threading.local()
        self.device = str(device)
        self.precision = "fp16" if half else "fp32"

    def input(self) -> FloatArray:
        """Return the calling thread's input; see ``Runner``."""
        buffer: FloatArray | None = getattr(self._threads, "images", None)
        if buffer is None:
            buffer = self._threads.images = np.empty(self._pixels, np.float32)
            self._threads.planes = np.empty(self._planes, np.float32)
        return buffer

    def infer(self, count: int) -> list[list[FloatArray]]:
        """Compute the first images of the thread's input; see ``Runner``."""
        images, planes = self.input()[:count], self._threads.planes[:count]
        for image, out in zip(images, planes, strict=True):
            to_planes(image, out)
        try:
            outputs = self._session.run(None, {INPUT: planes})
        except Exception as error:
            raise InferenceError(f"onnxruntime on {self.device} failed: {error}") from error
        return [list(heads) for heads in zip(*outputs, strict=True)]

    def close(self) -> None:
        """Give the memory back; see ``Runner``."""
        self._session = None
        self._threads = threading.local()


def _runtime() -> Any:
    try:
        import onnxruntime
    except Exception as error:
        raise EngineUnavailableError(
            f"the package onnxruntime is unusable: {error}; pip install onnxruntime; {_GPU_NEEDS}"
        ) from error
    return onnxruntime


def _find_device(runtime: Any, wanted: str) -> Device:
    kinds = _kinds(runtime)
    match = re.fullmatch(r"(cpu)|(cuda|tensorrt)(?::(\d+))?", wanted.lower())
    kind = match and (match[1] or match[2])
    if match is None or kind not in kinds:
        raise DeviceUnavailableError(
            f"onnxruntime has no device {wanted!r} here; it has {', '.join(kinds)}; {_GPU_NEEDS}"
        )
    return Device(kind, int(match[3] or 0))


def device_kinds() -> list[str]:
    """Return what the installed package was built for, which this machine may not have.

    Raises:
        EngineUnavailableError: the package is missing or broken.
    """
    return _kinds(_runtime())


def _kinds(runtime: Any) -> list[str]:
    available = runtime.get_available_providers()
    return [kind for kind, provider in _PROVIDERS.items() if provider in available]


def _check_tf32() -> None:
    """TensorRT rounds float32 to TF32 wherever it can, and only the environment can stop it."""
    if os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        raise DeviceUnavailableError(
            "TensorRT computes in TF32, not fp32; set NVIDIA_TF32_OVERRIDE=0 in the environment, "
            "or take device=cuda or precision=fast"
        )


def _session(runtime: Any, graph: bytes, device: Device, *, half: bool, streams: int) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors come as exceptions; warnings are for its developers
    if streams > 1:
        options.intra_op_num_threads = max(1, len(os.sched_getaffinity(0)) // streams)
    try:
        if device.kind != "cpu":
            runtime.preload_dlls()
        providers = _providers(device, half=half)
        session = runtime.InferenceSession(graph, options, providers, enable_fallback=0)
    except Exception as error:
        kind = EngineError if device.kind == "cpu" else DeviceUnavailableError
        raise kind(f"onnxruntime cannot compile the graph for {device}: {error}") from error
    # The session would keep the graph to compile it again on a CPU, which is switched off above.
    session._model_bytes = None
    return session


def _providers(device: Device, *, half: bool) -> list[tuple[str, dict[str, str]]]:
    """The device, and after it what takes the few operators that it does not know."""
    number = {"device_id": str(device.number)}
    providers = {
        "tensorrt": {**number, "trt_fp16_enable": str(int(half))},
        "cuda": {**number, "use_tf32": "0"},
        "cpu": {},
    }
    kinds = list(providers)
    return [(_PROVIDERS[kind], providers[kind]) for kind in kinds[kinds.index(device.kind) :]]
