"""Average precision by COCO's rules, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from darknet.detections import Detections
from darknet.model import Thresholds
from darknet.training.arrays import FloatArray as BoxArray
from darknet.training.dataset import Dataset, LabelledImage

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

THRESHOLDS = Thresholds(threshold=0.005, nms=0.45)
"""Thresholds of Darknet's own mAP computation."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """Average precision, 0..1, NaN for a class without objects.

    Attributes:
        names: class names.
        ap50: float64[classes], average precision at IoU 0.5.
        ap: float64[classes], mean of the average precision at IoU 0.5, 0.55 ... 0.95.
        precision: float64[101, classes], precision at IoU 0.5 and recall 0.00, 0.01 ... 1.
        by_area: mean over the classes of ``ap`` for small objects (below 32 x 32 pixels), medium
            ones and large ones (above 96 x 96); NaN where there are none.
    """

    names: tuple[str, ...]
    ap50: FloatArray
    ap: FloatArray
    precision: FloatArray
    by_area: tuple[float, float, float]

    @property
    def map50(self) -> float:
        """Mean of ``ap50`` over the classes that have objects."""
        return float(np.nanmean(self.ap50))

    @property
    def map(self) -> float:
        """Mean of ``ap`` over the classes that have objects."""
        return float(np.nanmean(self.ap))


def coco_metrics(dataset: Dataset, found: Sequence[Detections]) -> Metrics:
    """Compute average precision by COCO's rules, with at most 100 boxes per image.

    Args:
        dataset: labelled images with at least one object.
        found: one ``Detections`` per image, in the data set's order, made with ``THRESHOLDS``.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped] # has no types

    results = [row for number, one in enumerate(found) for row in _results(number, one)]
    truth = COCO(_coco(dataset))
    if not results:
        return _nothing(dataset)
    evaluation = COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # [IoU threshold, recall, class, area range, most detections]; -1: no object of the class
    every = np.asarray(evaluation.eval["precision"], np.float64)[..., -1]
    every = np.where(every < 0, np.nan, every)
    precision = every[..., 0]  # of all areas; small, medium and large follow
    small, medium, large = (_mean(every[..., area].mean((0, 1))) for area in (1, 2, 3))
    ap50, ap = precision[0].mean(0), precision.mean((0, 1))
    return Metrics(dataset.names, ap50, ap, precision[0], (small, medium, large))


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _nothing(dataset: Dataset) -> Metrics:
    ids = {int(number) for image in dataset.images for number in image.class_ids}
    ap = np.array([0.0 if i in ids else np.nan for i in range(len(dataset.names))])
    return Metrics(dataset.names, ap, ap, np.tile(ap, (101, 1)), (0.0, 0.0, 0.0))


def _coco(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    annotations = [
        {
            "image_id": number,
            "category_id": int(class_id),
            "bbox": _corner_box(box),
            "area": float(box[2] * box[3]),
            "iscrowd": int(crowd),
        }
        for number, image in enumerate(dataset.images)
        for box, class_id, crowd in zip(image.boxes, image.class_ids, image.crowd, strict=True)
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {
        "images": [
            {"id": number, "width": image.width, "height": image.height}
            for number, image in enumerate(dataset.images)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(dataset.names)],
    }


def _results(number: int, found: Detections) -> list[dict[str, Any]]:
    return [
        {
            "image_id": number,
            "category_id": int(class_id),
            "bbox": _corner_box(box),
            "score": float(score),
        }
        for box, score, class_id in zip(found.boxes, found.scores, found.class_ids, strict=True)
    ]


def _corner_box(box: BoxArray) -> list[float]:
    x, y, width, height = (float(value) for value in box)
    return [x - width / 2, y - height / 2, width, height]


def confusion_matrix(
    dataset: Dataset, found: Sequence[Detections], *, threshold: float = 0.25, iou: float = 0.5
) -> IntArray:
    """Count pairs of labelled and detected class.

    Each detection above ``threshold``, by falling confidence, is matched with the unmatched object
    of any class with the highest IoU, if that is at least ``iou``.

    Returns:
        int64[classes + 1, classes + 1]: rows are labels, columns detections; the last row counts
        detections without an object, the last column objects without a detection.
    """
    counts = np.zeros((len(dataset.names) + 1,) * 2, np.int64)
    for image, one in zip(dataset.images, found, strict=True):
        _count(counts, image, one.by_score(), threshold, iou)
    return counts


def _count(
    counts: IntArray, image: LabelledImage, found: Detections, threshold: float, iou: float
) -> None:
    overlap = _iou(found.boxes[found.scores > threshold], image.boxes)
    free = ~image.crowd
    nothing = len(counts) - 1
    for class_id, row in zip(found.class_ids, overlap, strict=False):
        row = np.where(free, row, 0)  # noqa: PLW2901 - only unmatched objects
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] >= iou:
            free[best] = False
            counts[image.class_ids[best], class_id] += 1
        else:
            counts[nothing, class_id] += 1
    for class_id in image.class_ids[free]:
        counts[class_id, nothing] += 1


def _iou(a: BoxArray, b: BoxArray) -> BoxArray:
    """Return the IoU of boxes [n, 4] and [m, 4] (centre x, centre y, width, height): [n, m]."""
    low = np.maximum((a[:, :2] - a[:, 2:] / 2)[:, None], (b[:, :2] - b[:, 2:] / 2)[None])
    high = np.minimum((a[:, :2] + a[:, 2:] / 2)[:, None], (b[:, :2] + b[:, 2:] / 2)[None])
    both = np.maximum(high - low, 0).prod(2)
    union = a[:, 2:].prod(1)[:, None] + b[:, 2:].prod(1)[None] - both
    return np.asarray(both / np.maximum(union, 1e-9), np.float32)
