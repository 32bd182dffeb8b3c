"""A stand-in for a GPU: ONNX Runtime's CPU provider behind the engine's code for GPUs.

Everything up to the card is real: the graph in fp32 or fp16, the fixed batch sizes and their
padding, the options of the providers, bindings of inputs and outputs to a device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import onnxruntime
import pytest

from darknet.detections import FloatArray
from darknet.engines import onnxruntime as engine


class GpuBinding:
    """A binding of a CPU session that takes a GPU's buffers for the CPU's."""

    def __init__(self, binding: Any) -> None:
        self.binding = binding

    def bind_cpu_input(self, name: str, value: FloatArray) -> None:
        self.binding.bind_cpu_input(name, value)

    def bind_output(self, name: str, device: str, number: int) -> None:
        assert (device, number) == ("cuda", 0)
        self.binding.bind_output(name, "cpu", 0)


class GpuSession:
    """A CPU session that claims a GPU's providers and records the batch size of every run."""

    def __init__(self, runtime: GpuRuntime, graph: bytes, options: Any) -> None:
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._runtime = runtime

    def get_providers(self) -> list[str]:
        return self._runtime.get_available_providers()

    def get_provider_graph_assignment_info(self) -> Any:
        return self._session.get_provider_graph_assignment_info()

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def io_binding(self) -> GpuBinding:
        return GpuBinding(self._session.io_binding())

    def run_with_iobinding(self, binding: GpuBinding) -> None:
        self._session.run_with_iobinding(binding.binding)

    def run(self, names: None, inputs: dict[str, FloatArray]) -> Any:
        batch = len(inputs["images"])
        self._runtime.batches.append(batch)
        if self._runtime.error and batch >= self._runtime.error_from:
            raise self._runtime.error
        return self._session.run(names, inputs)


@dataclass
class GpuRuntime:
    """The part of the package onnxruntime that the engine uses, on a machine with a GPU.

    Attributes:
        batches: batch sizes in the order of the runs.
        providers: what the last session was created with.
        threads: ``intra_op_num_threads`` of the last session.
        error: raised by runs if given.
        error_from: smallest batch size of the runs that raise it.
    """

    batches: list[int] = field(default_factory=list)
    providers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    threads: int = 0
    error: Exception | None = None
    error_from: int = 1
    __version__: str = "1.0"
    SessionOptions = staticmethod(onnxruntime.SessionOptions)

    def get_available_providers(self) -> list[str]:
        return [f"{kind}ExecutionProvider" for kind in ("Tensorrt", "CUDA", "CPU")]

    def preload_dlls(self) -> None:
        pass

    def InferenceSession(  # noqa: N802 - the package's name
        self, graph: bytes, options: Any, providers: Any, *, enable_fallback: int
    ) -> GpuSession:
        assert not enable_fallback
        self.providers, self.threads = providers, options.intra_op_num_threads
        return GpuSession(self, graph, options)


@contextmanager
def gpu_stand_in() -> Iterator[GpuRuntime]:
    """Let the engine load sessions of the stand-in."""
    runtime = GpuRuntime()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_runtime", lambda: runtime)
        patch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        yield runtime
