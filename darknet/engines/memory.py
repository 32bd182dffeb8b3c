"""What to do when a device has too little memory for a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from darknet.cfg import Cfg
from darknet.cfg.input_size import smaller_size, text_of
from darknet.errors import DeviceMemoryError, EngineError

_MARKS = (
    "out of memory",
    "outofmemory",
    "out_of_resources",
    "out_of_host_memory",
    "out_of_device_memory",
    "failed to allocate",
    "allocation_failure",
    "alloc_failed",
    "bfcarena",
    "max size of memory object",
    "bad_alloc",
)
"""Words of CUDA, cuDNN, cuBLAS, ONNX Runtime, TensorRT and OpenCL, in lower case."""


@contextmanager
def memory_explained(cfg: Cfg) -> Iterator[None]:
    """Add to the error of a runtime that lacks memory which smaller input size to use.

    Raises:
        DeviceMemoryError: the block failed with an EngineError that says so.
    """
    try:
        yield
    except EngineError as error:
        if not any(mark in str(error).lower() for mark in _MARKS):
            raise
        raise DeviceMemoryError(f"{error}; {_advice(cfg)}") from error


def _advice(cfg: Cfg) -> str:
    size = (cfg.net.input.width, cfg.net.input.height)
    smaller = smaller_size(size, cfg.stride)
    problem = f"the device has too little memory for this network at {text_of(size)}"
    if smaller is None:
        return f"{problem}, its smallest input size; use another device"
    return (
        f"{problem}; the next smaller input size is {text_of(smaller)}, see YOLO_INPUT_SIZE and "
        "input_size in model.yaml"
    )
