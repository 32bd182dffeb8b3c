"""OpenVINO: the fastest engine on CPUs; also Intel's GPUs and NPUs.

The package may only be imported through ``import_openvino``: left to itself it forks the process
and reports to an analytics service at its first import.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from darknet.detections import FloatArray
from darknet.engines.base import Model, Precision
from darknet.engines.cache import GraphCache, cache_key
from darknet.engines.graph import GraphEngine, check_input
from darknet.engines.quantized import QuantizedGraph
from darknet.errors import (
    DeviceUnavailableError,
    EngineError,
    EngineUnavailableError,
    InferenceError,
)
from darknet.onnx import build_onnx

if TYPE_CHECKING:
    import openvino

log = logging.getLogger(__name__)

_CONVERTER = "openvino.tools.ovc"
_HARDWARE = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
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
    """Compile a model with OpenVINO.

    Args:
        model: the network.
        device: one of OpenVINO's names (``CPU``, ``GPU``, ``GPU.1``, ``NPU``), in any case; None
            is the CPU.
        precision: ``fp32``, or ``fast`` for what the device has natively: bf16 on CPUs that have
            it, fp16 on GPUs and NPUs. The engine's ``precision`` says what it became. ``int8``
            needs ``quantized``; what it leaves in float is computed in fp32.
        streams: how many calls of ``detect`` to expect at once. None or 1: all cores work on one
            picture, for the lowest latency. More: OpenVINO shares the cores between pictures as
            it finds best for the network, with which no picture waits for the slowest core.
        cache: where compiled graphs are kept; None: nowhere.
        quantized: the model's int8 version, which is computed instead.

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
        settings = _settings(core, name, precision, streams or 1)
        runner = OpenVinoRunner(_compile(core, graph, name, settings, cache), name)
    except Exception as error:
        raise EngineError(f"openvino cannot compile {model.cfg.source}: {error}") from error
    if precision == "fp32" and runner.precision != "fp32":
        raise DeviceUnavailableError(
            f"openvino: {name} computes in {runner.precision} only; ask for precision=fast"
        )
    if quantized:
        runner.precision = "int8"
    return GraphEngine(model, runner)


class OpenVinoRunner:
    """A compiled graph of batch 1; several pictures run as parallel requests.

    Measured, that is at least as fast as a larger batch. Requests and their buffers are bound to
    each other once per thread: doing it in every call costs a tenth of a small network's time.
    """

    name = "openvino"

    def __init__(self, compiled: openvino.CompiledModel, device: str) -> None:
        self._compiled: openvino.CompiledModel | None = compiled
        self._batch = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._threads = threading.local()
        self.device = device
        kind = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.precision = _PRECISIONS.get(kind, kind)

    def pictures(self) -> FloatArray:
        """Return the calling thread's input; see ``Runner``."""
        return self._buffers().pictures

    def infer(self, count: int) -> list[list[FloatArray]]:
        """Compute the first pictures of the thread's input; see ``Runner``."""
        buffers = self._buffers()
        try:
            requests = buffers.first_requests(count)
            for request in requests:
                request.start_async()
            for request in requests:
                request.wait()
        except Exception as error:
            raise InferenceError(f"openvino on {self.device} failed: {error}") from error
        return buffers.heads[:count]

    def close(self) -> None:
        """Give the memory back; see ``Runner``."""
        self._compiled = None
        self._threads = threading.local()

    def _buffers(self) -> _Buffers:
        buffers: _Buffers | None = getattr(self._threads, "buffers", None)
        if buffers is None:
            if self._compiled is None:
                raise InferenceError("the network was closed; load it again")
            buffers = self._threads.buffers = _Buffers(self._compiled, self._batch)
        return buffers


class _Buffers:
    """What one thread computes with: requests that read ``pictures`` and write ``heads``.

    A request is made when it is needed first: most callers bring one picture at a time.
    """

    def __init__(self, compiled: openvino.CompiledModel, batch: int) -> None:
        self.pictures: FloatArray = np.empty((batch, *compiled.input(0).shape[1:]), np.float32)
        self.heads: list[list[FloatArray]] = []
        self._compiled = compiled
        self._requests: list[openvino.InferRequest] = []

    def first_requests(self, count: int) -> list[openvino.InferRequest]:
        """Return the requests of the first pictures."""
        for number in range(len(self._requests), count):
            request = self._compiled.create_infer_request()
            picture = self.pictures[number : number + 1]
            request.set_input_tensor(import_openvino().Tensor(picture, shared_memory=True))
            self._requests.append(request)
            self.heads.append([tensor.data[0] for tensor in request.output_tensors])
        return self._requests[:count]


def import_openvino() -> Any:
    """Import OpenVINO without its converter, and so without its telemetry.

    The converter, which nothing here needs, starts telemetry when it is imported: a child process
    that posts to an analytics service, and a client id in the home folder. OpenVINO goes on where
    the converter is missing, so it is hidden for the time of the import.

    Raises:
        ImportError: the package is missing or broken.
    """
    hidden = sys.modules.get(_CONVERTER)
    sys.modules[_CONVERTER] = None  # type: ignore[assignment] # Python's way to say: not here
    try:
        import openvino
    finally:
        del sys.modules[_CONVERTER]
        if hidden is not None:
            sys.modules[_CONVERTER] = hidden
    return openvino


def _compile(
    core: openvino.Core,
    graph: tuple[bytes, ...],
    device: str,
    settings: dict[str, Any],
    cache: GraphCache | None,
) -> openvino.CompiledModel:
    """Compile an ONNX graph, or both halves of OpenVINO's own format.

    Taking it from the cache is four times as fast.
    """
    if cache is None:
        return core.compile_model(core.read_model(*graph), device, settings)
    hardware = [core.get_property(device, name) for name in _HARDWARE]
    key = cache_key(b"".join(graph), import_openvino().get_version(), device, *hardware, settings)
    if kept := cache.read(key):
        try:
            return core.import_model(io.BytesIO(kept), device, settings)
        except RuntimeError as error:
            log.warning("openvino does not take its own compiled graph back: %s", error)
    compiled = core.compile_model(core.read_model(*graph), device, settings)
    cache.write(key, compiled.export_model().getvalue())
    return compiled


def _core() -> openvino.Core:
    try:
        core: openvino.Core = import_openvino().Core()
    except Exception as error:
        raise EngineUnavailableError(
            f"the package openvino cannot be used ({error}); pip install openvino"
        ) from error
    return core


def _find_device(core: openvino.Core, wanted: str) -> str:
    """Return OpenVINO's spelling of a device that is there."""
    name = wanted.upper()
    if name == "CPU":
        return name  # always there; looking for others loads their drivers: 15 MB
    available = core.available_devices
    if name not in {part for device in available for part in (device, device.split(".")[0])}:
        raise DeviceUnavailableError(
            f"openvino has no device {wanted!r} on this machine; it has {', '.join(available)} "
            "(NVIDIA GPUs need engine onnxruntime)"
        )
    return name


def _settings(
    core: openvino.Core, device: str, precision: Precision, streams: int
) -> dict[str, Any]:
    """Without a hint OpenVINO computes in bf16 where the CPU can, which is not Darknet's answer."""
    kind = _fastest_type(core, device) if precision == "fast" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}
    if streams > 1:
        settings |= {"PERFORMANCE_HINT": "THROUGHPUT"}
        settings |= {"PERFORMANCE_HINT_NUM_REQUESTS": str(streams)}
    return settings


def _fastest_type(core: openvino.Core, device: str) -> str:
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if "BF16" in capabilities and device == "CPU":
        return "bf16"
    return "f16" if "FP16" in capabilities else "f32"
