"""From the raw output of a network's heads to ``Detections``.

Sources: yolo_layer.c, region_layer.c and tree.c of both forks, and network.c of AlexeyAB's, whose
region layers follow rules of their own. Activations are computed only for cells whose objectness
can pass the threshold: usually some ten thousand of YOLO9000's eight million class scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darknet.cfg import Cfg
from darknet.cfg.layers import GaussianYolo, Head, Yolo
from darknet.decode.nms import suppress
from darknet.decode.region import RegionHead
from darknet.decode.yolo import GaussianYoloHead, YoloHead
from darknet.detections import Detections, FloatArray
from darknet.model import Dialect, Model, NmsKind, Thresholds
from darknet.resize import undo_resize

_Head = YoloHead | GaussianYoloHead | RegionHead

GREEDY_BETA = 0.6
"""Exponent of the distance in the overlap of ``nms_kind=greedynms``."""


class Decoder:
    """Decodes the raw output of one model; several threads may use it concurrently.

    Raises:
        UnsupportedError: a region layer has both ``background`` and a tree.
    """

    def __init__(self, model: Model) -> None:
        self._network = (model.cfg.net.input.height, model.cfg.net.input.width)
        self._resize = model.resize
        self._names = model.names
        self._heads = [_head(layer, model) for layer in model.cfg.heads]
        self._diou_beta = diou_beta(model.cfg, model.dialect, model.nms_kind)

    def decode(
        self, heads: Sequence[FloatArray], image_size: tuple[int, int], thresholds: Thresholds
    ) -> Detections:
        """Return the detections in one image, in Darknet's order.

        Args:
            heads: the input of each ``[yolo]``, ``[Gaussian_yolo]`` or ``[region]`` layer, before
                that layer's own logistic or softmax: float32[channels, height, width], in the order
                of the .cfg.
            image_size: height and width of the original image in pixels.
            thresholds: see ``Thresholds``.

        Returns:
            Detections after non-maximum suppression, boxes in pixels of the original image.
        """
        # exp() may overflow, as in C; the NaN of a diverged network exceeds no threshold.
        with np.errstate(over="ignore", invalid="ignore"):
            found = [
                head.candidates(raw, thresholds)
                for head, raw in zip(self._heads, heads, strict=True)
            ]
            boxes, scores, class_ids = map(np.concatenate, zip(*found, strict=True))
            boxes = undo_resize(boxes, image_size, self._network, self._resize)
        found_rows = Detections(boxes, scores, class_ids, self._names)
        return suppress_in_image(found_rows, image_size, thresholds.nms, self._diou_beta)


def _head(layer: Head, model: Model) -> _Head:
    if isinstance(layer, GaussianYolo):
        return GaussianYoloHead(layer, model.cfg.net.input)
    if isinstance(layer, Yolo):
        return YoloHead(layer, model.cfg.net.input)
    return RegionHead(layer, model)


def suppress_in_image(
    found: Detections, image_size: tuple[int, int], nms: float, diou_beta: float | None
) -> Detections:
    """Return the detections that non-maximum suppression keeps, in their order.

    Args:
        found: boxes in pixels of the image.
        image_size: height and width in pixels. Distances for DIoU are in parts of these sides, as
            ``darknet detector test`` computes them; IoU is the same in any unit.
        nms: largest overlap, 0..1.
        diou_beta: see ``suppress``.
    """
    boxes = found.boxes
    if diou_beta is not None:
        sides: FloatArray = np.array(image_size[::-1] * 2, np.float32)
        boxes = np.divide(boxes, sides, dtype=np.float32)
    keep = suppress(boxes, found.scores, found.class_ids, nms, diou_beta)
    kept = keep.nonzero()[0]
    return Detections(
        found.boxes.take(kept, axis=0),
        found.scores.take(kept),
        found.class_ids.take(kept),
        found.names,
    )


def diou_beta(cfg: Cfg, dialect: Dialect, nms_kind: NmsKind | None) -> float | None:
    """Return the exponent of DIoU for ``suppress``, None for IoU; the last head decides.

    As in AlexeyAB's fork, ``diounms`` has its exponent in ``beta_nms``, and ``greedynms`` 0.6.

    Args:
        cfg: the layers, with a head.
        dialect: decides if ``nms_kind`` is None.
        nms_kind: see ``NmsKind``.
    """
    kind = nms_kind or ("iou" if dialect == "pjreddie" else "cfg")
    last = cfg.heads[-1]
    if kind == "iou" or not isinstance(last, Yolo):
        return None
    return {"diounms": last.beta_nms, "greedynms": GREEDY_BETA}.get(last.nms_kind)
