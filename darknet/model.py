"""The vocabulary of the library: what a model is, and what may be asked of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from darknet.cfg import Cfg
from darknet.errors import ImageError
from darknet.weights import Weights

RgbImage = npt.NDArray[np.uint8]
"""uint8[height, width, 3], red first, height and width at least 1. There may be a fourth channel,
which nobody looks at: some decoders and most arithmetic are faster with it."""

Dialect = Literal["alexeyab", "pjreddie"]
"""Whose arithmetic: see docs/architecture.md, "Two dialects"."""
EngineName = Literal["auto", "libdarknet", "openvino", "onnxruntime"]
Precision = Literal["fp32", "fast", "int8"]
Resize = Literal["letterbox", "stretch"]

BATCH_NORM_EPSILON: dict[Dialect, tuple[float, float]] = {
    "alexeyab": (1e-5, 0.0),
    "pjreddie": (0.0, 1e-6),
}
"""(a, b) of the divisor sqrt(variance + a) + b."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to be given to an engine.

    Attributes:
        cfg: the layers.
        weights: the values, checked against ``cfg``.
        names: one label per class that ``Detections`` can hold.
        dialect: whose batch normalisation and region decoding.
        resize: how an image is brought to the network's size.
        use_map: YOLO9000 only: answer the classes of the region's map, not the tree's nodes.
    """

    cfg: Cfg
    weights: Weights
    names: tuple[str, ...]
    dialect: Dialect
    resize: Resize
    use_map: bool = False


@dataclass(frozen=True)
class Thresholds:
    """Limits of one call; comparisons are strict, as Darknet's are.

    Attributes:
        threshold: smallest objectness, and smallest objectness * class score, 0..1.
        nms: largest overlap (IoU) of two boxes of one class, 0..1; 0 turns suppression off.
        hier_threshold: YOLO9000: how sure to be before going down the tree, 0..1.

    Raises:
        ImageError: a value outside its range.
    """

    threshold: float = 0.25
    nms: float = 0.45
    hier_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("threshold", "nms", "hier_threshold"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ImageError(f"{name}: expected a number from 0 to 1, found {value}")
