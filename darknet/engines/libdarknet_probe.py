"""A probe network with known output, and the search for that output in a library's memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from darknet.cfg import parse_cfg
from darknet.detections import FloatArray
from darknet.model import BATCH_NORM_EPSILON, Dialect, Model
from darknet.weights import Header, Weights

INPUT_SIZE: Final = (96, 64)
"""Width and height of the probe's input, which must be all zeros."""
_MAX_ITEM: Final = 256
"""Largest struct of a detection to search for, in bytes; known ones have 48 to 96."""
_PROBE: Final = """
[net]
width=96
height=64
channels=3
[convolutional]
batch_normalize=1
filters=12
size=1
stride=32
activation=linear
[yolo]
mask=0
anchors=24,32
classes=7
num=1
"""
_PROBE_BOXES: Final = np.array(
    [(32 * x + 16, 32 * y + 16, 24, 32) for y in range(2) for x in range(3)], np.float32
)
"""The boxes: in the centre of each of the 3 x 2 cells, of the anchor's size, in pixels."""
_PROBE_LOGITS: Final = np.linspace(-1.5, 1.5, 7)
"""The raw score of each class; distinct, so that no other numbers match."""


class Layout(NamedTuple):
    """The layout of a library's output.

    Attributes:
        item: the struct of a detection; ``box`` is float32[4], ``prob`` the address of the scores.
        dialect: the dialect of its batch normalisation.
    """

    item: np.dtype[np.void]
    dialect: Dialect


def probe() -> Model:
    """Return a network with known output and a variance for which the dialects differ widely."""
    cfg = parse_cfg(_PROBE, source="<probe>")
    arrays = {
        "biases": np.array([0, 0, 0, 0, 0, *_PROBE_LOGITS], np.float32),
        "scales": np.ones(12, np.float32),
        "rolling_mean": np.array([0, 0, 0, 0, -1e-3, *([0] * 7)], np.float32),
        "rolling_variance": np.full(12, 1e-6, np.float32),
        "weights": np.zeros((12, 3, 1, 1), np.float32),
    }
    weights = Weights(Header(), (arrays, {}))
    return Model(cfg, weights, tuple("abcdefg"), "alexeyab", "stretch")


def _probe_scores(dialect: Dialect) -> FloatArray:
    a, b = BATCH_NORM_EPSILON[dialect]
    objectness = 1e-3 / (np.sqrt(1e-6 + a) + b)
    scores: FloatArray = 1 / (1 + np.exp(-objectness)) / (1 + np.exp(-_PROBE_LOGITS))
    return scores.astype(np.float32)


def find_layout(array: int, count: int) -> Layout | None:
    """Search for the probe's boxes at equal distances, each followed by a pointer to its scores.

    Args:
        array: address of the detections that the library returned for the probe.
        count: number of detections that it returned.

    Returns:
        None if they are in none of the supported layouts.
    """
    if count != len(_PROBE_BOXES):
        return None
    memory = _peek(array, count * _MAX_ITEM)
    for size in range(24, _MAX_ITEM + 1, 8):
        for offset in range(16, size, 8):
            item = np.dtype(
                {
                    "names": ["box", "prob"],
                    "formats": ["(4,)f4", "u8"],
                    "offsets": [0, offset],
                    "itemsize": size,
                }
            )
            if dialect := _fits(item, memory[: count * size]):
                return Layout(item, dialect)
    return None


def _fits(item: np.dtype[np.void], memory: bytes) -> Dialect | None:
    """Return the dialect whose boxes and scores are at the offsets of ``item``, or None."""
    if len(memory) != len(_PROBE_BOXES) * item.itemsize:
        return None
    items = np.frombuffer(memory, item)
    if not _close(items["box"], _PROBE_BOXES):
        return None
    scores = b"".join(_peek(int(prob), 4 * len(_PROBE_LOGITS)) for prob in items["prob"])
    if len(scores) != 4 * len(items) * len(_PROBE_LOGITS):
        return None
    found = np.frombuffer(scores, np.float32).reshape(len(items), -1)
    for dialect in BATCH_NORM_EPSILON:
        if _close(found, _probe_scores(dialect)):
            return dialect
    return None


def _close(found: FloatArray, expected: FloatArray) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.all(np.abs(found - expected) < 1e-4))


def _peek(address: int, size: int) -> bytes:
    """Read memory of this process; the result is shorter if the address range is not mapped."""
    try:
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            return os.pread(memory.fileno(), size, address)
    except (OSError, OverflowError):
        return b""
