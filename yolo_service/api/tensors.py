"""Tensors of the Open Inference Protocol: images of requests, detections of responses.

A request has one input with one of these names:

=============== ======== ===================== ============================================
name            datatype shape                 each element
=============== ======== ===================== ============================================
``image``       BYTES    [n]                   an encoded image; in JSON as base64
``image_uint8`` UINT8    [n, height, width, 3] red, green, blue, 0..255
``image_fp32``  FP32     [n, height, width, 3] red, green, blue, 0..1, rounded to 8 bits
=============== ======== ===================== ============================================

A response has one row per detection, image by image, the most confident of each first:
``boxes`` FP32 [m, 4] (centre x, centre y, width, height in pixels of the image), ``scores``
FP32 [m], ``class_ids`` INT32 [m], ``labels`` BYTES [m] and ``image_ids`` INT32 [m], which counts
the request's images from 0.

Both may have their values as bytes behind the JSON (the protocol's binary tensor data extension):
little endian, row by row, and each element of BYTES preceded by its length in four bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from darknet.model import RgbImage
from yolo_service.api.documents import read_base64, read_document
from yolo_service.errors import BadRequest, ImageTooLarge
from yolo_service.formats.columns import columns
from yolo_service.images.decode import MAX_SIDE
from yolo_service.predictor import Image
from yolo_service.predictor.answer import Answer

Values = npt.NDArray[Any]

MAX_IMAGES = 32
"""Most images of one request, as swagger.yaml says."""

INPUTS = (
    {"name": "image", "datatype": "BYTES", "shape": [-1]},
    {"name": "image_uint8", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
    {"name": "image_fp32", "datatype": "FP32", "shape": [-1, -1, -1, 3]},
)
OUTPUTS = (
    {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "scores", "datatype": "FP32", "shape": [-1]},
    {"name": "class_ids", "datatype": "INT32", "shape": [-1]},
    {"name": "labels", "datatype": "BYTES", "shape": [-1]},
    {"name": "image_ids", "datatype": "INT32", "shape": [-1]},
)


class TensorParameters(BaseModel):
    """Parameters of an input; ``binary_data_size`` counts its bytes behind the JSON."""

    binary_data_size: int | None = Field(default=None, ge=0)


class InputTensor(BaseModel):
    """An input in the JSON."""

    name: str
    datatype: str
    shape: list[int] = Field(max_length=8)
    data: Any = None
    parameters: TensorParameters = TensorParameters()


class OutputParameters(BaseModel):
    """Parameters of an output; ``binary_data``: whether its values come behind the JSON."""

    binary_data: bool | None = None


class RequestedOutput(BaseModel):
    """An output that the client requests."""

    name: str
    parameters: OutputParameters = OutputParameters()


class Parameters(BaseModel):
    """Parameters of a request: thresholds as for ``/detect``, default of ``binary_data``."""

    threshold: float | None = Field(default=None, ge=0, le=1)
    nms: float | None = Field(default=None, ge=0, le=1)
    hier_threshold: float | None = Field(default=None, ge=0, le=1)
    binary_data_output: bool = False


class InferenceRequest(BaseModel):
    """The JSON of a request; other members of the protocol are ignored."""

    id: str | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] = []
    parameters: Parameters = Parameters()


@dataclass(frozen=True, eq=False)
class Call:
    """A request that has been read.

    Attributes:
        request: its JSON.
        images: in order, encoded or as RGB arrays.
    """

    request: InferenceRequest
    images: list[Image]


def read_call(body: bytes, json_length: int | None, max_pixels: int) -> Call:
    """Read the body of a request; may take long.

    Args:
        body: JSON, with the protocol's binary extension followed by the input's bytes.
        json_length: bytes of the JSON; None: all.
        max_pixels: largest image, width * height.

    Raises:
        BadRequest: the request is wrong.
        ImageTooLarge: an image has more pixels.
    """
    request = read_document(InferenceRequest, body[:json_length])
    tensor = request.inputs[0]
    _check_outputs(request.outputs)
    _check_kind(tensor)
    raw = None if json_length is None else body[json_length:]
    if raw is not None and len(raw) != tensor.parameters.binary_data_size:
        raise _wrong(tensor, f"binary_data_size and the {len(raw)} bytes behind the JSON differ")
    images = list(_READERS[tensor.name](tensor, raw or None, max_pixels))
    return Call(request, images)


def write_answer(
    model: str, request: InferenceRequest, answers: Sequence[Answer]
) -> tuple[dict[str, Any], bytes]:
    """Return the response to a request: its JSON, and the values that come as bytes behind it."""
    rows = _rows(answers)
    outputs, raw = [], []
    for declared, is_binary in _wanted(request):
        values = rows[declared["name"]]
        output = {**declared, "shape": [len(rows["image_ids"]), *declared["shape"][1:]]}
        if is_binary:
            raw.append(_as_bytes(declared["datatype"], values))
            outputs.append(output | {"parameters": {"binary_data_size": len(raw[-1])}})
        else:
            outputs.append(output | {"data": values})
    name = {} if request.id is None else {"id": request.id}
    return {"model_name": model, "outputs": outputs, **name}, b"".join(raw)


def _wanted(request: InferenceRequest) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the requested outputs, all if none is named, and whether they come as bytes."""
    named = {output.name: output.parameters.binary_data for output in request.outputs}
    for declared in OUTPUTS:
        if not named or declared["name"] in named:
            choice = named.get(str(declared["name"]))
            yield declared, request.parameters.binary_data_output if choice is None else choice


def _rows(answers: Sequence[Answer]) -> dict[str, list[Any]]:
    """Return the values of each output, image by image."""
    tables = [columns(answer) for answer in answers]
    return {
        "boxes": [value for table in tables for box in table.boxes for value in box],
        "scores": [value for table in tables for value in table.scores],
        "class_ids": [value for table in tables for value in table.class_ids],
        "labels": [value for table in tables for value in table.labels],
        "image_ids": [i for i, table in enumerate(tables) for _ in table.labels],
    }


def _as_bytes(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [value.encode() for value in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.array(values, {"FP32": "<f4", "INT32": "<i4"}[datatype]).tobytes()


def _check_outputs(outputs: list[RequestedOutput]) -> None:
    known = [out["name"] for out in OUTPUTS]
    for output in outputs:
        if output.name not in known:
            raise BadRequest(f"unknown {output.name[:100]!r}; known: {known}", name="outputs")


def _check_kind(tensor: InputTensor) -> None:
    declared = {(kind["name"], kind["datatype"]): kind["shape"] for kind in INPUTS}
    if (tensor.name, tensor.datatype) not in declared:
        known = ", ".join(f"{name} ({datatype})" for name, datatype in declared)
        found = f"{tensor.name[:100]} ({tensor.datatype[:100]})"
        raise BadRequest(f"expected one of {known}, found {found}", name="inputs")
    expected, shape = declared[tensor.name, tensor.datatype], tensor.shape
    if len(shape) != len(expected) or expected[-1] not in (-1, shape[-1]) or min(shape) < 1:
        raise _wrong(tensor, f"expected shape {expected}, found {shape}")
    if shape[0] > MAX_IMAGES:
        raise _wrong(tensor, f"at most {MAX_IMAGES} images are taken, found {shape[0]}")


def _encoded(tensor: InputTensor, raw: bytes | None, _: int) -> Iterator[bytes]:
    """Yield encoded images: base64 in the JSON, or each preceded by its length in 4 bytes."""
    data = [*_split(tensor, raw)] if raw else tensor.data
    if not isinstance(data, list) or len(data) != tensor.shape[0]:
        raise _wrong(tensor, f"expected data of {tensor.shape[0]} images")
    for element in data:
        yield element if isinstance(element, bytes) else read_base64(tensor.name, str(element))


def _split(tensor: InputTensor, raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        start = position + 4
        position = start + int.from_bytes(raw[position:start], "little")
        if position > len(raw):
            raise _wrong(tensor, "an element is longer than the bytes behind the JSON")
        yield raw[start:position]


def _uint8(tensor: InputTensor, raw: bytes | None, max_pixels: int) -> Iterator[RgbImage]:
    values = _numbers(tensor, raw, np.dtype(np.uint8), max_pixels)
    in_range = values.min() >= 0 and values.max() <= 255
    if not (in_range and (raw or np.array_equal(values, np.rint(values)))):
        raise _wrong(tensor, "expected whole numbers from 0 to 255")
    yield from values.astype(np.uint8, copy=False)


def _fp32(tensor: InputTensor, raw: bytes | None, max_pixels: int) -> Iterator[RgbImage]:
    values = _numbers(tensor, raw, np.dtype("<f4"), max_pixels)
    if not (values.min() >= 0 and values.max() <= 1):
        raise _wrong(tensor, "expected numbers from 0 to 1")
    yield from np.rint(values * 255).astype(np.uint8)


def _numbers(
    tensor: InputTensor, raw: bytes | None, dtype: np.dtype[Any], max_pixels: int
) -> Values:
    """Return the values in the tensor's shape: of ``dtype``, or float64 if they are in the JSON."""
    _, height, width, _ = tensor.shape
    if height * width > max_pixels or max(height, width) > MAX_SIDE:
        raise ImageTooLarge(f"{tensor.name}: {width} x {height} pixels; set YOLO_MAX_PIXELS")
    try:
        values = np.frombuffer(raw, dtype) if raw else np.array(_flat(tensor.data), np.float64)
        return values.reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError) as error:
        count = math.prod(tensor.shape)
        raise _wrong(tensor, f"expected {count} numbers for shape {tensor.shape}") from error


def _flat(data: Any) -> list[float]:
    """Return the numbers of a list or of lists of lists.

    NumPy must not see anything else: of texts it makes an array as wide as the longest one.

    Raises:
        TypeError: it is no list, or holds something else than numbers.
    """
    while isinstance(data, list) and data and isinstance(data[0], list):
        data = list(itertools.chain.from_iterable(data))
    if not isinstance(data, list) or not set(map(type, data)) <= {int, float}:
        raise TypeError("expected a list of numbers")
    return data


def _wrong(tensor: InputTensor, why: str) -> BadRequest:
    return BadRequest(why, name=f"input {tensor.name[:100]}")


_READERS: dict[str, Callable[[InputTensor, bytes | None, int], Iterator[Image]]] = {
    "image": _encoded,
    "image_uint8": _uint8,
    "image_fp32": _fp32,
}
