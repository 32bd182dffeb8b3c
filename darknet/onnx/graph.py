"""Builder of ONNX graphs; the only module that imports onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from darknet.cfg.layers import Shape

OPSET = 17
"""Version of the operator set by default, which both runtimes support."""
OPSETS = range(13, 22)
"""Versions in which the operators here mean the same."""

FloatArray = npt.NDArray[np.floating]
Attribute = str | int | float | Sequence[int]


class Graph:
    """Builder of an ONNX graph of feature maps [N, channels, height, width].

    Tensors are referred to by name; methods return the name of the tensor they add.

    Args:
        batch: fixed batch size N; None: any.
        half: compute in float16; inputs and outputs stay float32.
        opset: version of the operator set, one of ``OPSETS``.

    Attributes:
        batch: the batch size, or the name of any.
    """

    INT64 = TensorProto.INT64

    def __init__(self, *, batch: int | None, half: bool, opset: int = OPSET) -> None:
        self.batch = "N" if batch is None else batch
        self._half = half
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._model = onnx.ModelProto(producer_name="darknet")
        self._model.opset_import.add(domain="", version=opset)
        self._model.ir_version = max(8, helper.find_min_ir_version_for(self._model.opset_import))
        self._graph = self._model.graph
        self._graph.name = "darknet"
        self._scalars: dict[float, str] = {}

    @property
    def bytes_per_weight(self) -> int:
        """Size of a number of the graph's number type."""
        return self._dtype.itemsize

    def input(self, name: str, shape: Shape) -> str:
        """Declare an input, float32[N, *shape]."""
        self._graph.input.append(self._value(name, shape))
        return (
            self.node("Cast", f"{name}/half", name, to=TensorProto.FLOAT16) if self._half else name
        )

    def input_number(self, name: str, default: float) -> str:
        """Declare an input float32[1] that may be left out."""
        self._graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]))
        return self.number(name, default)

    def output(self, name: str, tensor: str, shape: Sequence[int]) -> None:
        """Make a tensor an output, float32[N, *shape], called ``name``."""
        self.float32(name, tensor)
        self._graph.output.append(self._value(name, shape))

    def output_as(self, name: str, tensor: str, *shape: int | str, integer: bool = False) -> None:
        """Make a tensor that is no feature map an output, float32[*shape] or int64[*shape]."""
        self.node("Identity", name, tensor)
        kind = TensorProto.INT64 if integer else TensorProto.FLOAT
        self._graph.output.append(helper.make_tensor_value_info(name, kind, shape))

    def float32(self, name: str, tensor: str) -> str:
        """Convert a tensor of the graph's number type to float32."""
        if self._half:
            return self.node("Cast", name, tensor, to=TensorProto.FLOAT)
        return self.node("Identity", name, tensor)

    def node(self, kind: str, name: str, *inputs: str, **attributes: Attribute) -> str:
        """Add an operator; ``name`` is its name and that of its output."""
        return self.split(kind, [name], *inputs, **attributes)[0]

    def split(
        self, kind: str, outputs: list[str], *inputs: str, **attributes: Attribute
    ) -> list[str]:
        """Add an operator with several outputs; its name is that of the first."""
        node = self._graph.node.add(op_type=kind, name=outputs[0], input=inputs, output=outputs)
        node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
        return outputs

    def floats(self, name: str, values: FloatArray) -> str:
        """Add a constant in the graph's number type."""
        return self.constant(name, values.astype(self._dtype, copy=False))

    def holds(self, values: FloatArray) -> bool:
        """Return whether all values are finite and within the range of the graph's number type."""
        largest = np.finfo(np.float16 if self._half else np.float32).max
        return bool(-largest <= values.min() and values.max() <= largest)

    def scalar(self, value: float) -> str:
        """Add a scalar constant, once per value."""
        if value not in self._scalars:
            self._scalars[value] = self.floats(f"{value!r}", np.array(value))
        return self._scalars[value]

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a constant array without converting it."""
        self._graph.initializer.add(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
            dims=values.shape,
            raw_data=values.tobytes(),
        )
        return name

    def number(self, name: str, value: float) -> str:
        """Add a constant float32[1]."""
        return self.constant(name, np.array([value], np.float32))

    def integers(self, name: str, values: Sequence[int] | int) -> str:
        """Add a constant int64 vector (shapes, starts, sizes) or scalar."""
        return self.constant(name, np.array(values, np.int64))

    def reshape(self, name: str, tensor: str, *shape: int) -> str:
        """Reshape everything but the batch."""
        return self.node("Reshape", name, tensor, self.integers(f"{name}/shape", (0, *shape)))

    def slice(
        self,
        name: str,
        tensor: str,
        starts: Sequence[int],
        ends: Sequence[int],
        steps: Sequence[int] = (1, 1, 1),
    ) -> str:
        """Take a part of the channels, rows and columns (as many of these as ``starts`` has)."""
        axes = range(1, 1 + len(starts))
        vectors = {"starts": starts, "ends": ends, "axes": axes, "steps": steps[: len(starts)]}
        names = (self.integers(f"{name}/{key}", list(v)) for key, v in vectors.items())
        return self.node("Slice", name, tensor, *names)

    def upsample(self, name: str, tensor: str, factor: int) -> str:
        """Repeat every value ``factor`` times in both directions."""
        scales = self.constant(f"{name}/scales", np.array((1, 1, factor, factor), np.float32))
        return self.node(
            "Resize",
            name,
            tensor,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def describe(self, entries: Mapping[str, str]) -> None:
        """Write texts into the file, for whoever reads it."""
        for key, value in entries.items():
            self._model.metadata_props.add(key=key, value=value)

    def serialize(self) -> bytes:
        """Return the model as bytes."""
        data: bytes = self._model.SerializeToString()
        return data

    def _value(self, name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [self.batch, *shape])
