"""Part ``engines``: the engine on every batch size, with the data on the card and without."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu.models import BenchModel
from benchmarks.gpu.plan import PRECISIONS, Plan, progress
from benchmarks.gpu.results import Row
from benchmarks.gpu.timing import time_calls
from darknet.engines import onnxruntime as engine
from darknet.engines.cache import GraphCache
from darknet.engines.memory import memory_explained
from darknet.engines.onnxruntime import OnnxRuntimeRunner
from darknet.errors import DarknetError, DeviceMemoryError
from darknet.model import Precision
from darknet.onnx import INPUT

RESIDENT = "data on the card"
COPIED = "as the library calls it"
"""From pixels in host memory to outputs in host memory."""


def measure_engines(plan: Plan) -> None:
    """Fill in the rows of all models, devices, precisions and batch sizes.

    Raises:
        SystemExit: nothing could be measured; TensorRT alone may be missing.
    """
    # Or TensorRT would compute fp32 in TF32. Each part is a process of its own.
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    precisions = PRECISIONS if plan.on_gpu else PRECISIONS[:1]
    tasks = list(itertools.product(plan.models(), plan.devices, precisions))
    for model, device, precision in progress(tasks, "engines"):
        for row in _rows(model, device, precision, plan):
            plan.results.put(row)
    plan.results.check_measured("engines", plan.provider)


def _rows(model: BenchModel, device: str, precision: Precision, plan: Plan) -> Iterator[Row]:
    name = f"ONNX Runtime, {device}"
    about = ("engines", model.name)
    # TensorRT takes minutes to build its engines.
    cache = GraphCache(plan.results.path.parent / "tensorrt")
    options = {"device": device, "precision": precision, "streams": None, "cache": cache}
    try:
        runner, sizes = _load_largest(model, plan.batches, options)
    except DarknetError as error:
        yield Row(*about, name, precision, 0, note=str(error))
        return
    for size in plan.batches[len(sizes) :]:
        yield Row(*about, f"{name}, {RESIDENT}", runner.precision, size, note="out of memory")
    note = _left_to_the_cpu(runner, device)
    for size in sizes:
        for way, call in _ways(runner, device, size):
            figures = time_calls(call, plan.seconds, size)
            yield Row(*about, f"{name}, {way}", runner.precision, size, figures, note)
    runner.close()


def _load_largest(
    model: BenchModel, sizes: Sequence[int], options: dict[str, Any]
) -> tuple[OnnxRuntimeRunner, Sequence[int]]:
    """Load for as many of the batch sizes as fit into memory, which loading tries out.

    Raises:
        DarknetError: not even the smallest fits, or the device is missing.
    """
    try:
        with memory_explained(model.cfg):
            network = engine.load(model.load(), batch_sizes=sizes, **options)
    except DeviceMemoryError:
        if len(sizes) == 1:
            raise
        return _load_largest(model, sizes[:-1], options)
    assert isinstance(network.runner, OnnxRuntimeRunner)
    return network.runner, sizes


def _ways(
    runner: OnnxRuntimeRunner, device: str, size: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    binding = _bind(runner, "cpu" if device == "cpu" else "cuda", size)
    yield RESIDENT, lambda: runner.session.run_with_iobinding(binding)
    runner.input()[:] = 127
    yield COPIED, lambda: runner.infer(size)


def _bind(runner: OnnxRuntimeRunner, memory: str, size: int) -> Any:
    """Return a binding whose input is copied to the device once, and whose outputs stay there."""
    binding = runner.session.io_binding()
    _, *shape = runner.session.get_inputs()[0].shape
    binding.bind_cpu_input(INPUT, np.full((size, *shape), 0.5, np.float32))
    for output in runner.session.get_outputs():
        binding.bind_output(output.name, memory, 0)
    return binding


def _left_to_the_cpu(runner: OnnxRuntimeRunner, device: str) -> str:
    """Say how many operators of a GPU's session the CPU computes: nobody else would."""
    if device == "cpu":
        return ""
    parts = runner.session.get_provider_graph_assignment_info()
    left = [part for part in parts if part.ep_name == "CPUExecutionProvider"]
    count = sum(len(part.get_nodes()) for part in left)
    return f"the CPU computes {count} operators" if count else ""
