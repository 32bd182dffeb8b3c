"""From the raw output of a network's heads to ``Detections``.

Sources: yolo_layer.c, region_layer.c and tree.c of both forks, and network.c of AlexeyAB's, whose
region layers follow rules of their own. Activations are computed only for cells whose objectness
can pass the threshold: usually some ten thousand of YOLO9000's eight million class scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darknet.cfg import Cfg
from darknet.cfg.layers import Yolo
from darknet.decode.nms import suppress
from darknet.decode.region import RegionHead
from darknet.decode.yolo import YoloHead
from darknet.detections import Detections, FloatArray
from darknet.model import Model, Thresholds
from darknet.resize import undo_resize


class Decoder:
    """Decodes the raw output of one model; several threads may use it concurrently.

    Raises:
        UnsupportedError: a region layer has both ``background`` and a tree.
    """

    def __init__(self, model: Model) -> None:
        self._network = (model.cfg.net.input.height, model.cfg.net.input.width)
        self._resize = model.resize
        self._names = model.names
        self._heads = [
            YoloHead(head, model.cfg.net.input)
            if isinstance(head, Yolo)
            else RegionHead(head, model)
            for head in model.cfg.heads
        ]
        self._diou_beta = diou_beta(model.cfg)

    def decode(
        self, heads: Sequence[FloatArray], image_size: tuple[int, int], thresholds: Thresholds
    ) -> Detections:
        """Return the detections in one image, in Darknet's order.

        Args:
            heads: the input of each ``[yolo]`` or ``[region]`` layer, before that layer's own
                logistic or softmax: float32[channels, height, width], in the order of the .cfg.
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
        keep = suppress(boxes, scores, class_ids, thresholds.nms, self._diou_beta)
        kept = keep.nonzero()[0]
        return Detections(
            boxes.take(kept, axis=0), scores.take(kept), class_ids.take(kept), self._names
        )


def diou_beta(cfg: Cfg) -> float | None:
    """Return the exponent for ``suppress`` or None; as in Darknet, the last head decides."""
    last = cfg.heads[-1]
    return last.beta_nms if isinstance(last, Yolo) and last.nms_kind == "diounms" else None
