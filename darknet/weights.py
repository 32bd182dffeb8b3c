"""Read and write Darknet's .weights files, byte for byte.

Layout, everything little endian::

    int32  major, minor, revision
    int64  seen      if major * 10 + minor >= 2 and major, minor < 1000; int32 otherwise
    float32 ...      layer by layer:
        convolutional  biases[n]; with batch_normalize: scales[n], rolling_mean[n],
                       rolling_variance[n]; weights[n][channels / groups][size][size]
        connected      biases[n], weights[n][inputs]; with batch_normalize: scales[n],
                       rolling_mean[n], rolling_variance[n]
        local          biases[n * places], weights[places][n][channels * size * size]

``seen`` is the number of images trained on. There is neither a checksum nor a layer table; only the
length shows whether a file belongs to a .cfg. Source: load_weights_upto of both forks.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from darknet.cfg import Cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.errors import WeightsError

FloatArray = npt.NDArray[np.float32]
LayerArrays = Mapping[str, FloatArray]
"""The arrays of a layer by their names in the layout above; empty for a layer without weights."""


@dataclass(frozen=True)
class Header:
    """Format version and number of images that the network was trained on."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def struct(self) -> str:
        """Format of the header for ``struct``; the size of ``seen`` depends on the version."""
        wide = self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000
        return "<3iq" if wide else "<3ii"

    def pack(self) -> bytes:
        """Return the header's bytes."""
        return struct.pack(self.struct, self.major, self.minor, self.revision, self.seen)


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a network.

    Attributes:
        header: version and number of images seen.
        layers: one mapping of arrays per layer of the .cfg, in order.
    """

    header: Header
    layers: tuple[LayerArrays, ...]


def expected_bytes(cfg: Cfg, header: Header | None = None) -> int:
    """Return the size of a network's .weights file in bytes."""
    values = sum(math.prod(shape) for layer in cfg.layers for shape in layer.arrays.values())
    return struct.calcsize((header or Header()).struct) + 4 * values


def read_weights(path: str | Path, cfg: Cfg, *, upto: int | None = None) -> Weights:
    """Read a .weights file that belongs to ``cfg``.

    Args:
        path: the file.
        cfg: its network.
        upto: read only the layers before this one and ignore what follows; None: read all.

    Raises:
        WeightsError: the file cannot be read, its length does not match the network (the message
            has the expected and actual number of bytes and the layer in which the file ends), its
            header is invalid, or a value is not finite.
        UnsupportedError: the network has layers whose weights have no known layout.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(file, path, replace(cfg, layers=cfg.layers[:upto]), upto is not None)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_weights(path: str | Path, cfg: Cfg, weights: Weights) -> None:
    """Write a .weights file; reading it again gives the same bytes.

    Raises:
        WeightsError: the arrays do not match the network, or the file cannot be written.
    """
    path = Path(path)
    try:
        with path.open("wb") as file:
            file.write(weights.header.pack())
            for layer, arrays in zip(cfg.layers, weights.layers, strict=True):
                for array in _checked(layer, arrays):
                    file.write(np.ascontiguousarray(array, "<f4").tobytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}") from error


def _read(file: BinaryIO, path: Path, cfg: Cfg, more: bool) -> Weights:
    header = _read_header(file, path)
    found = path.stat().st_size
    expected = expected_bytes(cfg, header)
    if found != expected and not (more and found > expected):
        raise WeightsError(_wrong_length(path, cfg, header, expected, found))
    count = (expected - struct.calcsize(header.struct)) // 4
    values = np.fromfile(file, "<f4", count).astype(np.float32, copy=False)
    return Weights(header, tuple(_split(path, cfg, values)))


def _read_header(file: BinaryIO, path: Path) -> Header:
    start = file.read(12)
    if len(start) < 12:
        raise WeightsError(f"{path}: expected a header of 16 or 20 bytes, found {len(start)} bytes")
    major, minor, revision = struct.unpack("<3i", start)
    if not (0 <= major < 1000 and 0 <= minor < 1000 and 0 <= revision < 1000):
        raise WeightsError(
            f"{path}: expected a version as the header of a .weights file, found "
            f"{major}.{minor}.{revision}; is this another kind of file?"
        )
    layout = Header(major, minor, revision).struct
    header = start + file.read(struct.calcsize(layout) - len(start))
    if len(header) < struct.calcsize(layout):
        raise WeightsError(f"{path}: the file ends within its header")
    return Header(*struct.unpack(layout, header))


def _wrong_length(path: Path, cfg: Cfg, header: Header, expected: int, found: int) -> str:
    what = f"{path}: {cfg.source} needs {expected} bytes, found {found}"
    if found > expected:
        return f"{what}: {found - expected} too many; these weights belong to another .cfg"
    end = struct.calcsize(header.struct)
    for layer in cfg.layers:
        end += 4 * layer.parameters
        if found < end:
            return (
                f"{what}: the file ends in layer {layer.index} ({layer.kind}, line {layer.line} of "
                "the .cfg); it is incomplete or belongs to another .cfg"
            )
    return what


def _split(path: Path, cfg: Cfg, values: FloatArray) -> Iterator[LayerArrays]:
    start = 0
    for layer in cfg.layers:
        arrays: dict[str, FloatArray] = {}
        for name, shape in layer.arrays.items():
            stop = start + math.prod(shape)
            part = values[start:stop]
            if not np.isfinite(part).all():
                raise WeightsError(
                    f"{path}: layer {layer.index} ({layer.kind}, line {layer.line} of the .cfg) "
                    f"has {name} that are not finite; the training diverged or the file is damaged"
                )
            arrays[name] = part.reshape(shape)
            start = stop
        yield arrays


def _checked(layer: L.Layer, arrays: LayerArrays) -> Iterator[FloatArray]:
    if set(arrays) != set(layer.arrays):
        raise WeightsError(
            f"layer {layer.index} ({layer.kind}) needs {sorted(layer.arrays)}, "
            f"found {sorted(arrays)}"
        )
    for name, shape in layer.arrays.items():
        if arrays[name].size != math.prod(shape):
            raise WeightsError(
                f"layer {layer.index} ({layer.kind}): {name} needs {math.prod(shape)} values, "
                f"found {arrays[name].size}"
            )
        yield arrays[name]
