"""A Darknet model as an ONNX graph."""

from darknet.onnx.build import INPUT, build_onnx
from darknet.onnx.export import ExportOptions, export_onnx

__all__ = ["INPUT", "ExportOptions", "build_onnx", "export_onnx"]
