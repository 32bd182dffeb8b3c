"""The loss of ``[yolo]`` heads, with Darknet's gradients.

Darknet computes gradients directly: those of objectness and classes are of a binary cross entropy;
those of boxes omit the derivative of the logistic function and the size of the grid. The losses
here have the same gradients, so that the learning rates and normalizers of published .cfg files are
valid. Losses are summed over cells, anchors and classes, and averaged over images. Source:
yolo_layer.c of AlexeyAB's fork.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's usual name

from darknet.cfg import Cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix


class Losses(NamedTuple):
    """The parts of a loss: scalars, averaged over the images of a batch."""

    box: Tensor
    objectness: Tensor
    classes: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the parts, which is minimised."""
        return self.box + self.objectness + self.classes


def detection_loss(cfg: Cfg, outputs: Sequence[Tensor], truth: Tensor) -> Losses:
    """Return the sum of the losses of all heads.

    Args:
        cfg: the network.
        outputs: float[n, anchors * (5 + classes), rows, columns] of each head.
        truth: float[m, 6]: index of the image in the batch, class, and centre x, centre y,
            width, height relative to the network's input, 0..1.

    Raises:
        UnsupportedError: see ``trainable_heads``.
    """
    losses = [
        _HeadLoss(head, cfg.net.input, *raw.shape[2:])(raw, truth)
        for head, raw in zip(trainable_heads(cfg), outputs, strict=True)
    ]
    return Losses(*(torch.stack(parts).sum() for parts in zip(*losses, strict=True)))


def trainable_heads(cfg: Cfg) -> list[L.Yolo]:
    """Return the heads.

    Raises:
        UnsupportedError: a head is not ``[yolo]``, or there is none.
    """
    heads = []
    for head in cfg.heads or cfg.layers[-1:]:
        if not isinstance(head, L.Yolo) or isinstance(head, L.GaussianYolo):
            raise head.unsupported("cannot be trained here; a network must end in [yolo] heads")
        heads.append(head)
    return heads


class _Positions(NamedTuple):
    """Indices into a head's output: int64[k] each; ``anchor`` is an index into the head's mask."""

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor


@dataclass(frozen=True)
class _HeadLoss:
    """The loss of one head; ``rows`` and ``columns`` are the size of its grid."""

    head: L.Yolo
    net: L.Shape
    rows: int
    columns: int

    def __call__(self, raw: Tensor, truth: Tensor) -> Losses:
        """Return the losses of ``raw``, averaged over its n images."""
        n, options = len(raw), self.head.training
        # [n, anchors, rows, columns, 5 + classes]: x, y, width, height, objectness, classes
        shape = (n, len(self.head.anchors), -1, self.rows, self.columns)
        logits = raw.float().reshape(shape).permute(0, 1, 3, 4, 2)
        if self.head.new_coords:  # the convolution before has a logistic activation; undo it
            logits = torch.logit(logits, 1e-6)
        positions, number = self.assign(truth)
        target = truth[number]  # [positives, 6]
        selected = logits[positions]  # [positives, 5 + classes]
        box = self.box(positions, selected[:, :4], target[:, 2:])
        classes = self.classes(selected[:, 5:], target[:, 1].long())
        objectness = self.objectness(logits, positions, truth)
        return Losses(
            box * options.iou_normalizer / n,
            objectness * options.obj_normalizer / n,
            classes * options.cls_normalizer / n,
        )

    def assign(self, truth: Tensor) -> tuple[_Positions, Tensor]:
        """Assign each object to the anchor with the highest IoU and to all above iou_thresh.

        Returns:
            The positions, and for each the index of its object in ``truth``.
        """
        size = truth.new_tensor((self.net.width, self.net.height))
        overlap = _size_iou(truth[:, None, 4:], truth.new_tensor(self.head.all_anchors) / size)
        fits = overlap > self.head.training.iou_thresh  # [m, all anchors]
        fits[torch.arange(len(truth)), overlap.argmax(1)] = True
        number, anchor = fits[:, self.head.mask].nonzero(as_tuple=True)
        image, _, x, y = truth[number, :4].unbind(1)
        row = (y * self.rows).long().clamp(0, self.rows - 1)
        column = (x * self.columns).long().clamp(0, self.columns - 1)
        return _Positions(image.long(), anchor, row, column), number

    def objectness(self, logits: Tensor, positives: _Positions, truth: Tensor) -> Tensor:
        """Return the sum over all positions but unassigned ones with an IoU > ignore_thresh."""
        scores = logits[..., 4]  # [n, anchors, rows, columns]
        target = torch.zeros_like(scores)
        target[positives] = 1
        with torch.no_grad():
            everywhere = _Positions._make(torch.ones_like(target).nonzero(as_tuple=True))
            boxes = self.boxes(everywhere, logits[..., :4].reshape(-1, 4))
            overlap = _best_iou(boxes.reshape(len(logits), -1, 4), truth).reshape(target.shape)
        counted = (overlap <= self.head.training.ignore_thresh) | target.bool()
        return F.binary_cross_entropy_with_logits(
            scores, target, weight=counted.float(), reduction="sum"
        )

    def classes(self, logits: Tensor, class_ids: Tensor) -> Tensor:
        """Return the sum of the binary cross entropies of all classes."""
        smooth = self.head.training.label_smooth_eps
        target = F.one_hot(class_ids, self.head.classes).float() * (1 - smooth) + 0.5 * smooth
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum")

    def box(self, positions: _Positions, values: Tensor, truth: Tensor) -> Tensor:
        """Return the sum of 1 - IoU in the chosen variant, or of squared errors."""
        kind = self.head.training.iou_loss
        if kind == "mse":
            return self.squared(positions, values, truth)
        return (1 - IOU[kind](self.boxes(positions, values), truth)).sum()

    def boxes(self, positions: _Positions, values: Tensor) -> Tensor:
        """Decode raw values [k, 4] to boxes [k, 4] relative to the input, with Darknet's gradients.

        Those are 1 for the centre and, for the size, that of its factor alone.
        """
        offset, factor = self.decoded(values)
        grid = offset.new_tensor((self.columns, self.rows))
        centre = (torch.stack((positions.column, positions.row), 1) + offset) / grid
        extent = factor * self.anchors(positions)
        return torch.cat((_as_if(centre, values[:, :2]), _as_if(extent, factor)), 1)

    def squared(self, positions: _Positions, values: Tensor, truth: Tensor) -> Tensor:
        """Return half the squared errors of centres in cells and of log sizes (YOLOv3)."""
        offset, factor = self.decoded(values)
        grid = offset.new_tensor((self.columns, self.rows))
        cells = truth[:, :2] * grid - torch.stack((positions.column, positions.row), 1)
        centre = _as_if(offset - cells, values[:, :2])
        extent = factor.log() - (truth[:, 2:] / self.anchors(positions)).log()
        scale = 2 - truth[:, 2:3] * truth[:, 3:4]  # weight of up to 2 for small boxes
        return 0.5 * (scale * (centre**2 + extent**2)).sum()

    def decoded(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return offsets in the cell, 0..1 or more with scale_x_y, and factors of the anchor."""
        scale = self.head.scale_x_y
        offset = values[:, :2].sigmoid() * scale - 0.5 * (scale - 1)
        size = values[:, 2:]
        return offset, (2 * size.sigmoid()) ** 2 if self.head.new_coords else size.exp()

    def anchors(self, positions: _Positions) -> Tensor:
        """Return width and height of each position's anchor relative to the input: [k, 2]."""
        sizes = torch.tensor(self.head.anchors, device=positions.anchor.device)
        return (sizes / sizes.new_tensor((self.net.width, self.net.height)))[positions.anchor]


def _as_if(value: Tensor, variable: Tensor) -> Tensor:
    """Return ``value`` with the gradient of ``variable``."""
    return variable + (value - variable).detach()


def _best_iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Return the largest IoU of each box [n, k, 4] with an object of its image: [n, k]."""
    best = boxes.new_zeros(boxes.shape[:2])
    for number in range(len(boxes)):
        objects = truth[truth[:, 0] == number, 2:]
        if len(objects):
            best[number] = iou(boxes[number, :, None], objects[None]).amax(1)
    return best


def _size_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of boxes with the same centre, from widths and heights."""
    both = torch.minimum(a, b).prod(-1)
    return both / (a.prod(-1) + b.prod(-1) - both)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of boxes [..., 4] (centre x, centre y, width, height)."""
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = (high - low).clamp(min=0).prod(-1)
    return both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both + 1e-16)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return IoU - the uncovered part of the enclosing box (Rezatofighi et al. 2019)."""
    overlap = iou(a, b)
    union = (a[..., 2:].prod(-1) + b[..., 2:].prod(-1)) / (1 + overlap)
    hull = _hull(a, b).prod(-1)
    return overlap - (hull - union) / (hull + 1e-16)


def diou(a: Tensor, b: Tensor) -> Tensor:
    """Return IoU - (distance of the centres / diagonal of the hull)^2 (Zheng et al. 2020)."""
    distance = (a[..., :2] - b[..., :2]).square().sum(-1)
    return iou(a, b) - distance / (_hull(a, b).square().sum(-1) + 1e-16)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Return DIoU - a term for the difference in aspect ratio (Zheng et al. 2020)."""
    angle = torch.atan(a[..., 2] / a[..., 3]) - torch.atan(b[..., 2] / b[..., 3])
    aspect = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        weight = aspect / (1 - iou(a, b) + aspect + 1e-9)
    return diou(a, b) - weight * aspect


def _hull(a: Tensor, b: Tensor) -> Tensor:
    """Return width and height of the smallest box around both."""
    low = torch.minimum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.maximum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    return high - low


IOU = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}
