"""OpenVINO: the fastest engine on CPUs; also Intel's GPUs and NPUs.

The package may only be imported through ``import_openvino``: left to itself it forks the process
and reports to an analytics service at its first import.
"""

from __future__ import annotations

import io
import logging
import threading
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
from darknet.model import Model, Precision
from darknet.onnx import build_onnx

if TYPE_CHECKING:
    import openvino

log = logging.getLogger(__name__)

_CONVERTER = "openvino.tools.ovc"
_HARDWARE = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
_INPUT = "pixels 0..255"  # part of what is cached: the graph alone does not say it
_LARGE = 64_000_000
_TOGETHER = 3  # images at once, if not more streams: with one in reserve, two cores do not rest
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
            image, for the lowest latency. More: while calls overlap, OpenVINO shares the cores
            between their images as it finds best for the network, with which no image waits
            for the slowest core.
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
        settings = _settings(core, name, precision)
        hints = _hints(name, streams or 1, sum(map(len, graph)))
        compiled = [_compile(core, graph, name, settings | hint, cache) for hint in hints]
        runner = OpenVinoRunner(compiled[0], compiled[-1], name)
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
    """A graph of batch 1, compiled once or twice; several images run as parallel requests.

    Measured, that is at least as fast as a larger batch. Requests and their buffers are bound to
    each other once per thread: doing it in every call costs a tenth of a small network's time.

    Args:
        alone: compiled so that all cores work on one image.
        shared: compiled so that the cores are shared between images; the same one if there is
            only one way to compute.
        device: where it computes, as OpenVINO names it.
    """

    name = "openvino"

    def __init__(
        self, alone: openvino.CompiledModel, shared: openvino.CompiledModel, device: str
    ) -> None:
        self._compiled: tuple[openvino.CompiledModel, openvino.CompiledModel] | None
        self._compiled = (alone, shared)
        self._batch = max(_TOGETHER, shared.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._threads = threading.local()
        self._company = _Company()
        self.device = device
        kind = alone.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.precision = _PRECISIONS.get(kind, kind)

    def input(self) -> FloatArray:
        """Return the calling thread's input; see ``Runner``."""
        return self._buffers().images

    def infer(self, count: int) -> list[list[FloatArray]]:
        """Compute the first images of the thread's input; see ``Runner``."""
        buffers = self._buffers()
        is_alone = self._company.enter() and count == 1
        try:
            requests = (buffers.alone if is_alone else buffers.shared).first(count)
            for request, _ in requests:
                request.start_async()
            for request, _ in requests:
                request.wait()
        except Exception as error:
            raise InferenceError(f"openvino on {self.device} failed: {error}") from error
        finally:
            self._company.leave()
        return [heads for _, heads in requests]

    def close(self) -> None:
        """Give the memory back; see ``Runner``."""
        self._compiled = None
        self._threads = threading.local()

    def _buffers(self) -> _Buffers:
        buffers: _Buffers | None = getattr(self._threads, "buffers", None)
        if buffers is None:
            if self._compiled is None:
                raise InferenceError("the network was closed; load it again")
            buffers = self._threads.buffers = _Buffers(*self._compiled, self._batch)
        return buffers


class _Company:
    """Tells whether calls come one at a time, which all cores should then work on.

    Between two that overlap there is often one that does not, so a while has to pass.
    """

    _A_WHILE = 8

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._present = 0
        self._in_a_row = self._A_WHILE

    def enter(self) -> bool:
        """Begin a call; says whether it and those before it met no other."""
        with self._lock:
            self._present += 1
            self._in_a_row = self._in_a_row + 1 if self._present == 1 else 0
            return self._in_a_row > self._A_WHILE

    def leave(self) -> None:
        """End a call."""
        with self._lock:
            self._present -= 1


class _Buffers:
    """What one thread computes with: requests that read ``images``, and what they write."""

    def __init__(
        self, alone: openvino.CompiledModel, shared: openvino.CompiledModel, batch: int
    ) -> None:
        self.images: FloatArray = np.empty((batch, *alone.input(0).shape[1:]), np.float32)
        self.alone, self.shared = (_Requests(it, self.images) for it in (alone, shared))


class _Requests:
    """Requests of one compiled graph, each with its outputs; ``images`` are their inputs.

    A request is made when it is needed first: most callers bring one image at a time.
    """

    def __init__(self, compiled: openvino.CompiledModel, images: FloatArray) -> None:
        self._compiled, self._images = compiled, images
        self._made: list[tuple[openvino.InferRequest, list[FloatArray]]] = []

    def first(self, count: int) -> list[tuple[openvino.InferRequest, list[FloatArray]]]:
        """Return the requests of the first images."""
        for number in range(len(self._made), count):
            request = self._compiled.create_infer_request()
            image = self._images[number : number + 1]
            request.set_input_tensor(import_openvino().Tensor(image, shared_memory=True))
            self._made.append((request, [tensor.data[0] for tensor in request.output_tensors]))
        return self._made[:count]


def import_openvino() -> Any:
    """Import OpenVINO without its converter, and so without its telemetry.

    The converter, which nothing here needs, starts telemetry when it is imported: a child process
    that posts to an analytics service, and a client id in the home folder. OpenVINO goes on where
    the converter is missing, so it is hidden for the time of the import.

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
    """Compile an ONNX graph, or both halves of OpenVINO's own format.

    Taking it from the cache is four times as fast.
    """
    if cache is None:
        return core.compile_model(_of_pixels(core.read_model(*graph)), device, settings)
    hardware = [core.get_property(device, name) for name in _HARDWARE]
    key = cache_key(
        b"".join(graph), _INPUT, import_openvino().get_version(), device, *hardware, settings
    )
    if kept := cache.read(key):
        try:
            return core.import_model(io.BytesIO(kept), device, settings)
        except RuntimeError as error:
            log.warning("openvino does not take its own compiled graph back: %s", error)
    compiled = core.compile_model(_of_pixels(core.read_model(*graph)), device, settings)
    cache.write(key, compiled.export_model().getvalue())
    return compiled


def _of_pixels(graph: openvino.Model) -> openvino.Model:
    """Let a graph take pixels as OpenCV has them: OpenVINO would put planes into that order again.

    For a small network that is a twentieth of its time.
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


def _settings(core: openvino.Core, device: str, precision: Precision) -> dict[str, Any]:
    """Without a hint OpenVINO computes in bf16 where the CPU can, which is not Darknet's answer."""
    kind = _fastest_type(core, device) if precision == "fast" else "f32"
    return {"INFERENCE_PRECISION_HINT": kind}


def _hints(device: str, streams: int, size: int) -> list[dict[str, str]]:
    """Return how to compile: for one image at a time, for several, or for both.

    Args:
        device: of OpenVINO.
        streams: how many images may come at once.
        size: of the graph in bytes. A large one gains 5 % when cores are shared between images,
            which is not worth a second copy in memory.
    """
    alone = {"PERFORMANCE_HINT": "LATENCY"}
    shared = {"PERFORMANCE_HINT": "THROUGHPUT", "PERFORMANCE_HINT_NUM_REQUESTS": str(streams)}
    if streams == 1:
        return [alone]
    if device != "CPU":
        return [shared]
    return [alone] if size > _LARGE else [alone, shared]


def _fastest_type(core: openvino.Core, device: str) -> str:
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if "BF16" in capabilities and device == "CPU":
        return "bf16"
    return "f16" if "FP16" in capabilities else "f32"
