"""The loss of ``[yolo]`` heads, in Darknet's units.

Darknet writes gradients, not losses: its objectness and class deltas are those of a logistic
cross entropy; its box deltas leave out the derivative of the logistic function and the size of
the grid. The losses here have those same gradients, so that the learning rates and normalizers
of published .cfg files keep their meaning. Sums run over cells, anchors and classes; the mean is
over images. Source: yolo_layer.c of AlexeyAB's fork.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from darknet.cfg import Cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix


@dataclass(frozen=True)
class Losses:
    """Scalars: means over the images of a batch."""

    box: Tensor
    objectness: Tensor
    classes: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.box + self.objectness + self.classes

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.box + other.box,
            self.objectness + other.objectness,
            self.classes + other.classes,
        )


def detection_loss(cfg: Cfg, outputs: Sequence[Tensor], truth: Tensor) -> Losses:
    """Sum the losses of all heads.

    Args:
        cfg: the network.
        outputs: float[n, anchors * (5 + classes), rows, columns] of each head.
        truth: float[m, 6]: number of the image in the batch, class, and centre x, centre y,
            width, height as parts of the network's input, 0..1.

    Raises:
        UnsupportedError: see ``trainable_heads``.
    """
    losses = [
        _HeadLoss(head, cfg.net.input, *raw.shape[2:])(raw, truth)
        for head, raw in zip(trainable_heads(cfg), outputs, strict=True)
    ]
    return sum(losses[1:], losses[0])


def trainable_heads(cfg: Cfg) -> list[L.Yolo]:
    """Return the heads.

    Raises:
        UnsupportedError: a head that is not ``[yolo]``, or a network without one.
    """
    heads = []
    for head in cfg.heads or cfg.layers[-1:]:
        if not isinstance(head, L.Yolo):
            raise head.unsupported("cannot be trained here; a network must end in [yolo] heads")
        heads.append(head)
    return heads


class _Places(NamedTuple):
    """Anchors in the output of a head, one row each: int64[k]; the anchor is the head's own."""

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor


@dataclass(frozen=True)
class _HeadLoss:
    """The loss of one head: its settings, the input's shape and the grid's."""

    head: L.Yolo
    net: L.Shape
    rows: int
    columns: int

    def __call__(self, raw: Tensor, truth: Tensor) -> Losses:
        """Compute the means over the n images of ``raw``."""
        n, options = len(raw), self.head.training
        # [n, anchors, rows, columns, 5 + classes]: x, y, width, height, objectness, classes
        shape = (n, len(self.head.anchors), -1, self.rows, self.columns)
        logits = raw.float().reshape(shape).permute(0, 1, 3, 4, 2)
        if self.head.new_coords:  # the convolution before has a logistic activation; undo it
            logits = torch.logit(logits, 1e-6)
        places, number = self.assign(truth)
        wanted, chosen = truth[number], logits[places]  # [positives, 6], [positives, 5 + classes]
        box = self.box(places, chosen[:, :4], wanted[:, 2:])
        classes = self.classes(chosen[:, 5:], wanted[:, 1].long())
        objectness = self.objectness(logits, places, truth)
        return Losses(
            box * options.iou_normalizer / n,
            objectness * options.obj_normalizer / n,
            classes * options.cls_normalizer / n,
        )

    def assign(self, truth: Tensor) -> tuple[_Places, Tensor]:
        """Give each object to the anchor that it fits best, and to all that overlap > iou_thresh.

        Returns:
            The places, and the row of ``truth`` that belongs to each.
        """
        size = truth.new_tensor((self.net.width, self.net.height))
        overlap = _size_iou(truth[:, None, 4:], truth.new_tensor(self.head.all_anchors) / size)
        fits = overlap > self.head.training.iou_thresh  # [m, all anchors]
        fits[torch.arange(len(truth)), overlap.argmax(1)] = True
        number, anchor = fits[:, self.head.mask].nonzero(as_tuple=True)
        image, _, x, y = truth[number, :4].unbind(1)
        row = (y * self.rows).long().clamp(0, self.rows - 1)
        column = (x * self.columns).long().clamp(0, self.columns - 1)
        return _Places(image.long(), anchor, row, column), number

    def objectness(self, logits: Tensor, positives: _Places, truth: Tensor) -> Tensor:
        """Sum over all anchors but those that overlap an object well without being given to it."""
        scores = logits[..., 4]  # [n, anchors, rows, columns]
        target = torch.zeros_like(scores)
        target[positives] = 1
        with torch.no_grad():
            everywhere = _Places._make(torch.ones_like(target).nonzero(as_tuple=True))
            boxes = self.boxes(everywhere, logits[..., :4].reshape(-1, 4))
            overlap = _best_iou(boxes.reshape(len(logits), -1, 4), truth).reshape(target.shape)
        counted = (overlap <= self.head.training.ignore_thresh) | target.bool()
        return F.binary_cross_entropy_with_logits(
            scores, target, weight=counted.float(), reduction="sum"
        )

    def classes(self, logits: Tensor, class_ids: Tensor) -> Tensor:
        """Sum of the cross entropies of all classes."""
        smooth = self.head.training.label_smooth_eps
        target = F.one_hot(class_ids, self.head.classes).float() * (1 - smooth) + 0.5 * smooth
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum")

    def box(self, places: _Places, values: Tensor, truth: Tensor) -> Tensor:
        """Sum of 1 - IoU in one of its forms, or of squared errors."""
        kind = self.head.training.iou_loss
        if kind == "mse":
            return self.squared(places, values, truth)
        return (1 - IOU[kind](self.boxes(places, values), truth)).sum()

    def boxes(self, places: _Places, values: Tensor) -> Tensor:
        """Turn raw values [k, 4] into boxes [k, 4], parts of the input, with Darknet's gradients.

        Those are 1 for the centre and, for the size, that of its factor alone.
        """
        offset, factor = self.decoded(values)
        grid = offset.new_tensor((self.columns, self.rows))
        centre = (torch.stack((places.column, places.row), 1) + offset) / grid
        extent = factor * self.anchors(places)
        return torch.cat((_as_if(centre, values[:, :2]), _as_if(extent, factor)), 1)

    def squared(self, places: _Places, values: Tensor, truth: Tensor) -> Tensor:
        """Half the squared errors in cells and in logarithms of the anchors (YOLOv3)."""
        offset, factor = self.decoded(values)
        grid = offset.new_tensor((self.columns, self.rows))
        cells = truth[:, :2] * grid - torch.stack((places.column, places.row), 1)
        centre = _as_if(offset - cells, values[:, :2])
        extent = factor.log() - (truth[:, 2:] / self.anchors(places)).log()
        scale = 2 - truth[:, 2:3] * truth[:, 3:4]  # small boxes count up to twice as much
        return 0.5 * (scale * (centre**2 + extent**2)).sum()

    def decoded(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Offset in the cell, 0..1 (a little more with scale_x_y), and factor of the anchor."""
        scale = self.head.scale_x_y
        offset = values[:, :2].sigmoid() * scale - 0.5 * (scale - 1)
        size = values[:, 2:]
        return offset, (2 * size.sigmoid()) ** 2 if self.head.new_coords else size.exp()

    def anchors(self, places: _Places) -> Tensor:
        """Width and height of each place's anchor in parts of the input: [k, 2]."""
        sizes = torch.tensor(self.head.anchors, device=places.anchor.device)
        return (sizes / sizes.new_tensor((self.net.width, self.net.height)))[places.anchor]


def _as_if(value: Tensor, variable: Tensor) -> Tensor:
    """Return ``value`` with the gradient of ``variable``."""
    return variable + (value - variable).detach()


def _best_iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Largest IoU of each box [n, k, 4] with an object of its image: [n, k]."""
    best = boxes.new_zeros(boxes.shape[:2])
    for number in range(len(boxes)):
        objects = truth[truth[:, 0] == number, 2:]
        if len(objects):
            best[number] = iou(boxes[number, :, None], objects[None]).amax(1)
    return best


def _size_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes with one centre, from widths and heights alone."""
    both = torch.minimum(a, b).prod(-1)
    return both / (a.prod(-1) + b.prod(-1) - both)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap of boxes [..., 4] (centre x, centre y, width, height): intersection over union."""
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = (high - low).clamp(min=0).prod(-1)
    return both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both + 1e-16)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the part of the enclosing box that neither covers (Rezatofighi et al. 2019)."""
    overlap = iou(a, b)
    union = (a[..., 2:].prod(-1) + b[..., 2:].prod(-1)) / (1 + overlap)
    hull = _hull(a, b).prod(-1)
    return overlap - (hull - union) / (hull + 1e-16)


def diou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the squared distance of the centres over the hull's diagonal (Zheng et al. 2020)."""
    distance = (a[..., :2] - b[..., :2]).square().sum(-1)
    return iou(a, b) - distance / (_hull(a, b).square().sum(-1) + 1e-16)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """DIoU less a term for the difference in aspect ratio (Zheng et al. 2020)."""
    angle = torch.atan(a[..., 2] / a[..., 3]) - torch.atan(b[..., 2] / b[..., 3])
    aspect = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        weight = aspect / (1 - iou(a, b) + aspect + 1e-9)
    return diou(a, b) - weight * aspect


def _hull(a: Tensor, b: Tensor) -> Tensor:
    """Width and height of the smallest box around both."""
    low = torch.minimum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.maximum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    return high - low


IOU = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}
