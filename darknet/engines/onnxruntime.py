"""ONNX Runtime: the engine for NVIDIA GPUs (CUDA, TensorRT) and for CPUs without OpenVINO.

On a GPU a change of the batch size is expensive: cuDNN searches its algorithms again for every new
shape, and TensorRT rebuilds its engine for a shape outside its profile. So a GPU runs a few fixed
batch sizes only; an input of another size is padded to the next larger one, and every size is run
once when the model is loaded.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from darknet.cfg.layers import Shape
from darknet.detections import FloatArray
from darknet.engines.cache import GraphCache, cache_key
from darknet.engines.graph import GraphEngine, check_input
from darknet.errors import (
    DeviceUnavailableError,
    EngineError,
    EngineUnavailableError,
    InferenceError,
)
from darknet.limits import available_cpus
from darknet.model import Model, Precision
from darknet.onnx import INPUT, build_onnx
from darknet.resize import to_planes

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_GPU_NEEDS = "NVIDIA GPUs need a driver and the package onnxruntime-gpu[cuda,cudnn]"
CPU_BATCH_SIZES = (1,)
GPU_BATCH_SIZES = (1, 2, 4, 8)
"""Batch sizes that a GPU runs, ascending; the largest bounds the memory of a call."""


class Device(NamedTuple):
    """A device: its kind, ``cpu``, ``cuda`` or ``tensorrt``, and the index of the GPU, from 0."""

    kind: str
    number: int

    def __str__(self) -> str:
        return "CPU" if self.kind == "cpu" else f"{self.kind.upper()}:{self.number}"


def load(
    model: Model,
    *,
    device: str | None,
    precision: Precision,
    streams: int | None,
    cache: GraphCache | None = None,
    batch_sizes: Sequence[int] | None = None,
) -> GraphEngine:
    """Create a session of ONNX Runtime for a model; see ``load_network``.

    ``device`` is ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt`` or ``tensorrt:1``; None is the CPU.
    ``fp32`` is without TF32, so that GPUs and CPUs give the same results; ``fast`` is fp16 on GPUs
    and fp32 on CPUs. The available CPUs are divided among ``streams``. TensorRT keeps its engines
    in ``cache``; without it they are built at every load. ``batch_sizes`` are the ones to run,
    ascending; None: those of the device, ``GPU_BATCH_SIZES`` or ``CPU_BATCH_SIZES``.

    Raises:
        EngineUnavailableError: the package is missing or broken.
        DeviceUnavailableError: the device is missing, or ONNX Runtime could not start it.
        UnsupportedError: the network has a layer that a graph cannot have.
        EngineError: ONNX Runtime refused the graph.
        InferenceError: the GPU failed while it ran each batch size for the first time.
    """
    check_input(model)
    runtime = _runtime()
    target = _find_device(runtime, device or "cpu")
    on_gpu = target.kind != "cpu"
    half = precision == "fast" and on_gpu
    if target.kind == "tensorrt" and not half:
        _check_tf32()
    sizes = batch_sizes or (GPU_BATCH_SIZES if on_gpu else CPU_BATCH_SIZES)
    graph = build_onnx(model, half=half)
    folder = None
    if cache is not None and target.kind == "tensorrt":
        key = cache_key(graph, runtime.__version__, str(target), tuple(sizes))
        folder = cache.make_folder(key)
    tensorrt_options = _tensorrt_options(model.cfg.net.input, sizes, folder, half=half)
    providers = _providers(target, tensorrt_options)
    session = _session(runtime, graph, target, providers, streams=streams or 1)
    if providers[0][0] not in session.get_providers():
        raise DeviceUnavailableError(
            f"onnxruntime could not start {target}, only {session.get_providers()}; {_GPU_NEEDS}"
        )
    runner = OnnxRuntimeRunner(session, str(target), sizes, half=half)
    if on_gpu:
        runner.warm_up()
    return GraphEngine(model, runner)


class OnnxRuntimeRunner:
    """A session that several threads may run concurrently, with fixed batch sizes.

    Args:
        session: of a graph whose input is float32[N, channels, height, width].
        device: name of the device.
        batch_sizes: the batch sizes to run, ascending; inputs are padded to the next one.
        half: the graph computes in fp16.

    Attributes:
        session: for measurements; None when the runner is closed.
    """

    name = "onnxruntime"

    def __init__(
        self, session: Any, device: str, batch_sizes: Sequence[int], *, half: bool
    ) -> None:
        self.session, self._batch_sizes = session, batch_sizes
        _, channels, height, width = session.get_inputs()[0].shape
        self._planes = (batch_sizes[-1], channels, height, width)
        self._pixels = (batch_sizes[-1], height, width, channels)
        self._threads = threading.local()
        self.device = device
        self.precision = "fp16" if half else "fp32"

    def warm_up(self) -> None:
        """Run every batch size once, the largest first, so that memory is allocated once.

        Raises:
            InferenceError: the runtime failed.
        """
        planes = np.zeros(self._planes, np.float32)
        for size in reversed(self._batch_sizes):
            self._run(planes[:size])

    def input(self) -> FloatArray:
        """Return the calling thread's input; see ``Runner``."""
        buffer: FloatArray | None = getattr(self._threads, "images", None)
        if buffer is None:
            buffer = self._threads.images = np.empty(self._pixels, np.float32)
            self._threads.planes = np.zeros(self._planes, np.float32)
        return buffer

    def infer(self, count: int) -> list[list[FloatArray]]:
        """Compute the first images of the thread's input; see ``Runner``."""
        size = next(size for size in self._batch_sizes if size >= count)
        images, planes = self.input()[:count], self._threads.planes[:size]
        # Behind the images lies the padding: zeros, or images of an earlier call.
        for image, out in zip(images, planes, strict=False):
            to_planes(image, out)
        outputs = self._run(planes)
        return [list(heads) for heads in zip(*outputs, strict=True)][:count]

    def close(self) -> None:
        """Free the session and its buffers; see ``Runner``."""
        self.session = None
        self._threads = threading.local()

    def _run(self, planes: FloatArray) -> list[FloatArray]:
        try:
            outputs: list[FloatArray] = self.session.run(None, {INPUT: planes})
        except Exception as error:
            raise InferenceError(f"onnxruntime on {self.device} failed: {error}") from error
        return outputs


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
    """Return the kinds of devices that the installed package supports, present or not.

    Raises:
        EngineUnavailableError: the package is missing or broken.
    """
    return _kinds(_runtime())


def _kinds(runtime: Any) -> list[str]:
    available = runtime.get_available_providers()
    return [kind for kind, provider in _PROVIDERS.items() if provider in available]


def _check_tf32() -> None:
    """Refuse fp32 while TensorRT may round it to TF32, which only the environment can turn off."""
    if os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        raise DeviceUnavailableError(
            "TensorRT computes in TF32, not fp32; set NVIDIA_TF32_OVERRIDE=0 in the environment, "
            "or use device=cuda or precision=fast"
        )


def _session(
    runtime: Any,
    graph: bytes,
    device: Device,
    providers: Sequence[tuple[str, dict[str, str]]],
    *,
    streams: int,
) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors are raised as exceptions as well
    # The runtime's own default ignores the CPU quota of a container.
    options.intra_op_num_threads = max(1, available_cpus() // streams)
    try:
        if device.kind != "cpu":
            # So that tests can see which operators are left to the CPU; older versions ignore it.
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            runtime.preload_dlls()
        session = runtime.InferenceSession(graph, options, providers, enable_fallback=0)
    except Exception as error:
        kind = EngineError if device.kind == "cpu" else DeviceUnavailableError
        raise kind(f"onnxruntime cannot compile the graph for {device}: {error}") from error
    # The session keeps the graph for a fall-back to the CPU, which is turned off above.
    session._model_bytes = None
    return session


def _providers(
    device: Device, tensorrt_options: dict[str, str]
) -> list[tuple[str, dict[str, str]]]:
    """Return the device's execution provider and those that run operators it does not support."""
    number = {"device_id": str(device.number)}
    options = {"tensorrt": number | tensorrt_options, "cuda": number | {"use_tf32": "0"}, "cpu": {}}
    kinds = list(options)
    return [(_PROVIDERS[kind], options[kind]) for kind in kinds[kinds.index(device.kind) :]]


def _tensorrt_options(
    image: Shape, batch_sizes: Sequence[int], folder: Path | None, *, half: bool
) -> dict[str, str]:
    """Return options for one engine of all batch sizes, tuned for the largest, kept in a folder."""
    smallest, largest = (
        f"{INPUT}:{'x'.join(map(str, (size, *image)))}"
        for size in (batch_sizes[0], batch_sizes[-1])
    )
    options = {
        "trt_fp16_enable": str(int(half)),
        "trt_profile_min_shapes": smallest,
        "trt_profile_opt_shapes": largest,
        "trt_profile_max_shapes": largest,
    }
    if folder is not None:
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
    return options
