"""OpenVINO: the fastest engine on CPUs; also for Intel's GPUs and NPUs.

Import the package only through ``import_openvino``: a plain import starts a child process that
posts telemetry to an analytics service.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from darknet.detections import FloatArray
from darknet.engines.cache import GraphCache, cache_key
from darknet.engines.graph import GraphEngine, check_input
from darknet.engines.quantized import QuantizedGraph
from darknet.errors import (
    DeviceUnavailableError,
    EngineError,
    EngineUnavailableError,
    InferenceError,
)
from darknet.hidden_imports import hidden
from darknet.limits import available_cpus, cpus_of_process
from darknet.model import Model, Precision
from darknet.onnx import build_onnx

if TYPE_CHECKING:
    import openvino

log = logging.getLogger(__name__)

_CONVERTER = "openvino.tools.ovc"
_HARDWARE = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
_INPUT = "pixels 0..255"  # part of the cache key: preprocessing is added after the ONNX graph
_LARGE_GRAPH_BYTES = 64_000_000
_MIN_BATCH = 3  # images per call even with fewer streams, which keeps two cores busy
_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


def load(
    model: Model,
    *,
    device: str | None,
    precision: Precision,
    streams: int | None,
    cache: GraphCache | None = None,
    quantized: QuantizedGraph | None = None,
) -> GraphEngine:
    """Compile a model, or its int8 version ``quantized``, with OpenVINO; see ``load_network``.

    ``device`` is one of OpenVINO's names (``CPU``, ``GPU``, ``GPU.1``, ``NPU``), in any case; None
    is the CPU. ``fast`` is bf16 on CPUs that have it, and fp16 on GPUs and NPUs; in ``int8``,
    layers without int8 are computed in fp32. With one stream all cores work on one image, for the
    lowest latency; with more, OpenVINO divides the cores among images while calls overlap.

    Raises:
        EngineUnavailableError: the package is missing or broken.
        DeviceUnavailableError: the device is missing, or cannot compute in this precision.
        UnsupportedError: the network has a layer that a graph cannot have.
        EngineError: OpenVINO refused the graph.
    """
    check_input(model)
    core = _core()
    name = _find_device(core, device or "CPU")
    graph = quantized or (build_onnx(model, batch=1),)
    try:
        settings = _settings(core, name, precision)
        hints = _hints(name, streams or 1, sum(map(len, graph)))
        compiled = [_compile(core, graph, name, settings | hint, cache) for hint in hints]
        runner = OpenVinoRunner(compiled[0], compiled[-1], name)
    except Exception as error:
        raise EngineError(f"openvino cannot compile {model.cfg.source}: {error}") from error
    if precision == "fp32" and runner.precision != "fp32":
        raise DeviceUnavailableError(
            f"openvino: {name} computes in {runner.precision} only; use precision=fast"
        )
    if quantized:
        runner.precision = "int8"
    return GraphEngine(model, runner)


def write_openvino(graph: bytes, path: Path, *, half: bool) -> None:
    """Write an ONNX graph in OpenVINO's own format: ``path``, an .xml, and a .bin beside it.

    Inputs with a default value become constants. What the ONNX file says of its model is in the
    .xml as ``rt_info/framework``.

    Raises:
        EngineUnavailableError: the package is missing or broken.
        EngineError: OpenVINO refused the graph, or the files cannot be written.
    """
    core = _core()
    try:
        model = core.read_model(graph)
        import_openvino().save_model(model, path, compress_to_fp16=half)
    except Exception as error:
        raise EngineError(f"openvino cannot write {path}: {error}") from error


class OpenVinoRunner:
    """A graph of batch 1, compiled once or twice; several images run as parallel requests.

    Parallel requests were measured to be at least as fast as a larger batch. Each thread has its
    own requests with input buffers set once: setting them in every call takes a tenth of a small
    network's time.

    Args:
        alone: compiled for latency: all cores work on one image.
        shared: compiled for throughput: the cores are divided among images. May be ``alone``.
        device: OpenVINO's name of the device.
    """

    name = "openvino"

    def __init__(
        self, alone: openvino.CompiledModel, shared: openvino.CompiledModel, device: str
    ) -> None:
        batch = max(_MIN_BATCH, shared.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._buffers: _Buffers | None = _Buffers(alone, shared, batch)
        self._overlap = OverlapTracker()
        self.device = device
        kind = alone.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.precision = _PRECISIONS.get(kind, kind)

    def input(self) -> FloatArray:
        """Return the calling thread's input; see ``Runner``."""
        return self._open_buffers().images

    def infer(self, count: int) -> list[list[FloatArray]]:
        """Compute the first images of the thread's input; see ``Runner``."""
        buffers = self._open_buffers()
        is_alone = self._overlap.enter() and count == 1
        try:
            requests = (buffers.alone if is_alone else buffers.shared).first(count)
            run_requests(request for request, _ in requests)
        except Exception as error:
            raise InferenceError(f"openvino on {self.device} failed: {error}") from error
        finally:
            self._overlap.leave()
        return [heads for _, heads in requests]

    def close(self) -> None:
        """Free the compiled graphs and the buffers; see ``Runner``."""
        self._buffers = None

    def _open_buffers(self) -> _Buffers:
        if self._buffers is None:
            raise InferenceError("the network was closed; load it again")
        return self._buffers


def run_requests(requests: Iterable[openvino.InferRequest]) -> None:
    """Start all requests and wait for all of them, also if one fails.

    A request that still runs reads and writes buffers that the thread's next call uses.
    """
    with contextlib.ExitStack() as waiting:
        for request in requests:
            request.start_async()
            waiting.callback(request.wait)


class OverlapTracker:
    """Counts concurrent calls, to choose between latency and throughput.

    Under concurrent load some calls happen to overlap with no other, so calls count as separate
    only after ``QUIET_CALLS`` calls in a row without an overlap.
    """

    QUIET_CALLS = 8

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._quiet = self.QUIET_CALLS

    def enter(self) -> bool:
        """Begin a call; return whether neither it nor recent calls overlapped with another."""
        with self._lock:
            self._active += 1
            self._quiet = self._quiet + 1 if self._active == 1 else 0
            return self._quiet > self.QUIET_CALLS

    def leave(self) -> None:
        """End a call."""
        with self._lock:
            self._active -= 1


class _Buffers(threading.local):
    """Buffers and requests of the calling thread; the requests read ``images``."""

    def __init__(
        self, alone: openvino.CompiledModel, shared: openvino.CompiledModel, batch: int
    ) -> None:
        self.images: FloatArray = np.empty((batch, *alone.input(0).shape[1:]), np.float32)
        self.alone, self.shared = (_Requests(it, self.images) for it in (alone, shared))


class _Requests:
    """Requests of one compiled graph with their outputs; ``images`` are their inputs.

    Requests are created on first use, because most calls have a single image.
    """

    def __init__(self, compiled: openvino.CompiledModel, images: FloatArray) -> None:
        self._compiled, self._images = compiled, images
        self._created: list[tuple[openvino.InferRequest, list[FloatArray]]] = []

    def first(self, count: int) -> list[tuple[openvino.InferRequest, list[FloatArray]]]:
        """Return the requests of the first images."""
        for number in range(len(self._created), count):
            request = self._compiled.create_infer_request()
            image = self._images[number : number + 1]
            request.set_input_tensor(import_openvino().Tensor(image, shared_memory=True))
            self._created.append((request, [tensor.data[0] for tensor in request.output_tensors]))
        return self._created[:count]


def import_openvino() -> Any:
    """Import OpenVINO without its converter, which starts telemetry when it is imported.

    The telemetry is a child process that posts to an analytics service, and a client id in the
    home folder. OpenVINO works without the converter, so it is hidden during the import.

    Raises:
        ImportError: the package is missing or broken.
    """
    with hidden(_CONVERTER):
        import openvino
    return openvino


def _compile(
    core: openvino.Core,
    graph: tuple[bytes, ...],
    device: str,
    settings: dict[str, Any],
    cache: GraphCache | None,
) -> openvino.CompiledModel:
    """Compile an ONNX graph or a pair of topology and weights in OpenVINO's own format.

    Loading the result from the cache was measured to be four times as fast.
    """
    if cache is None:
        return core.compile_model(_with_pixel_input(core.read_model(*graph)), device, settings)
    hardware = [core.get_property(device, name) for name in _HARDWARE]
    key = cache_key(
        b"".join(graph), _INPUT, import_openvino().get_version(), device, *hardware, settings
    )
    if cached := cache.read(key):
        try:
            return core.import_model(io.BytesIO(cached), device, settings)
        except RuntimeError as error:
            log.warning("openvino cannot load a compiled graph of the cache: %s", error)
    compiled = core.compile_model(_with_pixel_input(core.read_model(*graph)), device, settings)
    cache.write(key, compiled.export_model().getvalue())
    return compiled


def _with_pixel_input(graph: openvino.Model) -> openvino.Model:
    """Make a graph's input NHWC, 0..255, instead of NCHW, 0..1.

    OpenVINO computes in NHWC on CPUs; converting NCHW takes a twentieth of a small network's time.
    """
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(graph)
    layout = import_openvino().Layout
    steps.input().tensor().set_layout(layout("NHWC"))
    steps.input().model().set_layout(layout("NCHW"))
    steps.input().preprocess().scale(255.0)
    return steps.build()


def _core() -> openvino.Core:
    try:
        core: openvino.Core = import_openvino().Core()
    except Exception as error:
        raise EngineUnavailableError(
            f"the package openvino cannot be used ({error}); pip install openvino"
        ) from error
    return core


def _find_device(core: openvino.Core, wanted: str) -> str:
    """Return OpenVINO's name of a device that this machine has."""
    name = wanted.upper()
    if name == "CPU":
        return name  # always present; listing the others loads their drivers: 15 MB
    available = core.available_devices
    if name not in {part for device in available for part in (device, device.split(".")[0])}:
        raise DeviceUnavailableError(
            f"openvino has no device {wanted!r} on this machine; it has {', '.join(available)} "
            "(NVIDIA GPUs need engine onnxruntime)"
        )
    return name


def _settings(core: openvino.Core, device: str, precision: Precision) -> dict[str, Any]:
    """Return the settings for a precision, and for a limit of CPUs.

    Without the first OpenVINO uses bf16 where the CPU can.
    """
    kind = "f32"
    if precision == "fast":
        capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        if "BF16" in capabilities and device == "CPU":
            kind = "bf16"
        elif "FP16" in capabilities:
            kind = "f16"
    threads = available_cpus()
    is_limited = device == "CPU" and threads < cpus_of_process()
    # OpenVINO itself starts as many threads as the machine has cores.
    limit = {"INFERENCE_NUM_THREADS": threads} if is_limited else {}
    return {"INFERENCE_PRECISION_HINT": kind} | limit


def _hints(device: str, streams: int, size: int) -> list[dict[str, str]]:
    """Return the performance hints to compile with: for latency, for throughput, or both.

    Args:
        device: OpenVINO's name of the device.
        streams: expected number of concurrent images.
        size: size of the graph in bytes. Throughput of a large graph is 5 % higher with its own
            compilation, which does not justify a second copy in memory.
    """
    alone = {"PERFORMANCE_HINT": "LATENCY"}
    shared = {"PERFORMANCE_HINT": "THROUGHPUT", "PERFORMANCE_HINT_NUM_REQUESTS": str(streams)}
    if streams == 1:
        return [alone]
    if device != "CPU":
        return [shared]
    return [alone] if size > _LARGE_GRAPH_BYTES else [alone, shared]
