"""Compute anchors by k-means with the distance 1 - IoU (YOLO9000, section 2)."""

from __future__ import annotations

import numpy as np

from darknet.cfg.layers import Shape
from darknet.errors import DataError
from darknet.training.arrays import FloatArray, floats
from darknet.training.dataset import Dataset

MAX_ITERATIONS = 300
"""Limit of k-means; a few dozen are usual."""


def compute_anchors(
    dataset: Dataset, net: Shape, count: int, seed: int = 0
) -> tuple[FloatArray, float]:
    """Return the anchors that fit the objects of a data set best.

    Args:
        dataset: labelled images.
        net: shape of the network's input, to which images are stretched.
        count: how many anchors.
        seed: of the random initialisation.

    Returns:
        float32[count, 2], width and height in pixels of the network's input, by rising area, and
        the mean IoU of the objects with their best anchors, 0..1.

    Raises:
        DataError: there are fewer different object sizes than anchors.
    """
    sizes = np.concatenate(
        [
            image.boxes[~image.crowd, 2:]
            * floats((net.width / image.width, net.height / image.height))
            for image in dataset.images
        ]
    )
    different = np.unique(sizes, axis=0)
    if not 1 <= count <= len(different):
        raise DataError(f"{count} anchors need as many different sizes, found {len(different)}")
    anchors = _initial_anchors(different, count, np.random.default_rng(seed))
    for _ in range(MAX_ITERATIONS):
        nearest = _iou(sizes, anchors).argmax(1)
        groups = (sizes[nearest == number] for number in range(count))
        moved = np.array(
            [
                group.mean(0) if len(group) else old
                for group, old in zip(groups, anchors, strict=True)
            ]
        )
        if np.array_equal(moved, anchors):
            break
        anchors = moved
    anchors = anchors[np.argsort(anchors.prod(1))].astype(np.float32)
    return anchors, float(_iou(sizes, anchors).max(1).mean())


def _initial_anchors(sizes: FloatArray, count: int, random: np.random.Generator) -> FloatArray:
    """Choose initial anchors at random, with a preference for distant sizes (k-means++)."""
    chosen: FloatArray = sizes[random.integers(len(sizes))][None]
    while len(chosen) < count:
        distance = (1 - _iou(sizes, chosen).max(1)).astype(np.float64) ** 2
        number = random.choice(len(sizes), p=distance / distance.sum())
        chosen = np.concatenate((chosen, sizes[number][None]))
    return chosen


def _iou(sizes: FloatArray, anchors: FloatArray) -> FloatArray:
    """Return the IoU of boxes [n, 2] and [k, 2] (width, height) with the same centre: [n, k]."""
    both: FloatArray = np.minimum(sizes[:, None], anchors[None]).prod(2)
    union: FloatArray = sizes.prod(1)[:, None] + anchors.prod(1)[None] - both
    return floats(both / union)
