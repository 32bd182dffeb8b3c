"""A Darknet model as an ONNX graph."""

from darknet.onnx.build import INPUT, build_onnx

__all__ = ["INPUT", "build_onnx"]
