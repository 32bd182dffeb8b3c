"""The types that all modules share: model, image, thresholds, dialect, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from darknet.cfg import Cfg
from darknet.errors import ImageError
from darknet.weights import Weights

RgbImage = npt.NDArray[np.uint8]
"""uint8[height, width, 3], RGB, height and width at least 1. A fourth channel is allowed and
ignored: some image decoders and most of OpenCV are faster with it."""

Dialect = Literal["alexeyab", "pjreddie"]
"""The fork of Darknet whose formulas apply: see docs/architecture.md, "Two dialects"."""
EngineName = Literal["auto", "libdarknet", "openvino", "onnxruntime"]
Precision = Literal["fp32", "fast", "int8"]
Resize = Literal["letterbox", "stretch"]
NmsKind = Literal["cfg", "iou"]
"""``cfg``: as the last head's ``nms_kind`` says, like ``darknet detector test`` of AlexeyAB's fork;
``iou``: by plain IoU, like pjreddie's fork and the Python wrappers of both."""

BATCH_NORM_EPSILON: dict[Dialect, tuple[float, float]] = {
    "alexeyab": (1e-5, 0.0),
    "pjreddie": (0.0, 1e-6),
}
"""(a, b) in the divisor sqrt(variance + a) + b of batch normalisation."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights, as engines load it.

    Attributes:
        cfg: the layers.
        weights: the weights, which match ``cfg``.
        names: class names; ``Detections.class_ids`` are indices into them.
        dialect: the fork whose batch normalisation and region decoding apply.
        resize: how images are resized to the network's input.
        use_map: YOLO9000 only: return the classes of the region's map, not the nodes of the tree.
        nms_kind: how overlap is measured; None: ``cfg`` in the dialect alexeyab, else ``iou``.
    """

    cfg: Cfg
    weights: Weights
    names: tuple[str, ...]
    dialect: Dialect
    resize: Resize
    use_map: bool = False
    nms_kind: NmsKind | None = None


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of one call of ``detect``; a score must be greater, not equal, as in Darknet.

    Attributes:
        threshold: confidence threshold, 0..1, for objectness and objectness * class score.
        nms: largest overlap (IoU) of two boxes of one class, 0..1; 0 turns NMS off.
        hier_threshold: YOLO9000: smallest probability to descend in the class tree, 0..1.

    Raises:
        ImageError: a value is out of range.
    """

    threshold: float = 0.25
    nms: float = 0.45
    hier_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("threshold", "nms", "hier_threshold"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ImageError(f"{name}: expected a number from 0 to 1, found {value}")
