"""The file of a model's int8 version, beside its weights.

Layout: SHA-256 of all that follows (32 bytes), origin (32 bytes), length of the topology
(uint64, little-endian), topology, weights. Topology and weights are the two files of OpenVINO's own
format, an XML text and the values that it refers to. The origin identifies the .cfg, weights,
dialect and input size that the version was made from; a version of others is refused.

OpenVINO does not validate the graph, so everybody with write access to a model's folder is trusted.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import NamedTuple

from darknet.cfg import InputSize
from darknet.cfg.input_size import text_of
from darknet.errors import QuantizationError
from darknet.model import Dialect

_HEADER = struct.Struct("<32s32sQ")
_DIGEST_BYTES = 32
_ADVICE = "run: yolo-service quantize --model NAME --images FOLDER"


class QuantizedGraph(NamedTuple):
    """A graph with int8 weights and the value ranges of its feature maps, in OpenVINO's format."""

    topology: bytes
    weights: bytes


def quantized_path(weights: Path, input_size: InputSize | None = None) -> Path:
    """Return the path of the int8 version of a .weights file.

    Args:
        weights: the file.
        input_size: (width, height) of the input; None: as the .cfg says.
    """
    return weights.with_suffix(f".{text_of(input_size)}.int8" if input_size else ".int8")


def origin_of(
    cfg: Path, weights: Path, dialect: Dialect, input_size: InputSize | None = None
) -> bytes:
    """Return a SHA-256 digest (32 bytes) of what an int8 version is made from.

    Args:
        cfg: the .cfg file.
        weights: the .weights file.
        dialect: of the network.
        input_size: (width, height) of the input; None: as the .cfg says.

    Raises:
        QuantizationError: a file cannot be read.
    """
    digest = hashlib.sha256(dialect.encode())
    if input_size:
        digest.update(text_of(input_size).encode())
    for path in (cfg, weights):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise QuantizationError(f"{path} cannot be read: {error.strerror}") from error
    return digest.digest()


def write_quantized(path: Path, graph: QuantizedGraph, origin: bytes) -> None:
    """Write an int8 version under a temporary name, and rename it when it is complete.

    Raises:
        QuantizationError: the folder cannot be written to.
    """
    rest = origin + struct.pack("<Q", len(graph.topology)) + graph.topology + graph.weights
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(hashlib.sha256(rest).digest() + rest)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise QuantizationError(f"{path} cannot be written: {error.strerror}") from error


def read_quantized(path: Path, origin: bytes) -> QuantizedGraph:
    """Read an int8 version; check that it is complete and has the expected origin.

    Raises:
        QuantizationError: it is missing, damaged, or was made from other files.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        message = f"precision=int8 needs {path}, which is missing; {_ADVICE}"
        raise QuantizationError(message) from None
    except OSError as error:
        raise QuantizationError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
        raise QuantizationError(f"{path} is damaged or not an int8 version of a model; {_ADVICE}")
    _, made_from, length = _HEADER.unpack_from(content)
    if made_from != origin:
        raise QuantizationError(
            f"{path} was made from another .cfg, .weights, dialect or input size than is there "
            f"now; {_ADVICE}"
        )
    end = _HEADER.size + length
    return QuantizedGraph(content[_HEADER.size : end], content[end:])
