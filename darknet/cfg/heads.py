"""Build the output layers: ``[yolo]``, ``[Gaussian_yolo]``, ``[region]`` and ``[detection]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.builders import Context
from darknet.cfg.sections import Section
from darknet.cfg.tree import read_named_map, read_named_tree

_NMS = frozenset(("default", "greedynms", "diounms"))
_POINTS = frozenset(("center", "left_top", "right_bottom"))
_IOU_LOSS = frozenset(("mse", "iou", "giou", "diou", "ciou"))
_UNUSED_NUMBERS = (
    "absolute class_scale coord_scale max max_delta noobject_scale object_scale random rescore "
    "truth_thresh".split()
)
"""Options of the loss that the training here does not use."""
_TRAINING_ONLY = frozenset(
    "bias_match classfix cls_smooth counters_per_class dets_for_show "
    "dets_for_track embedding_layer focal_loss iou_thresh_kind log mask_scale noadjust "
    "objectness_smooth show_details sim_thresh sim_thresh_kind sqrt thresh track_ciou_norm "
    "track_history_size truth_thresh_kind".split()
)
_DETECTION_TRAINING_ONLY = frozenset(
    "class_scale coord_scale forced jitter max noobject_scale object_scale random reorg".split()
)


def _yolo(at: Context) -> L.Layer:
    return L.Yolo(**_yolo_options(at, entries=5), new_coords=at.section.flag("new_coords"))


def _gaussian_yolo(at: Context) -> L.Layer:
    s = at.section
    s.check_numbers("uc_normalizer")
    point = s.choice("yolo_point", "center", _POINTS)
    return L.GaussianYolo(**_yolo_options(at, entries=9), new_coords=False, yolo_point=point)


def _yolo_options(at: Context, entries: int) -> dict[str, Any]:
    """Return the attributes of a head with so many channels per anchor beside its classes."""
    s = at.section
    s.known(_TRAINING_ONLY)
    classes = s.integer("classes", 20, low=1)
    anchors = _anchors(s, s.integer("num", 1, low=1))
    mask = s.integers("mask", tuple(range(len(anchors))))
    if not mask or not all(0 <= number < len(anchors) for number in mask):
        raise s.error(f"expected numbers from 0 to {len(anchors) - 1}, found {mask}", "mask")
    _check_channels(
        at, len(mask) * (classes + entries), f"{len(mask)} masks of {classes} classes + {entries}"
    )
    return dict(
        **at.base,
        output=at.input,
        classes=classes,
        anchors=tuple(anchors[number] for number in mask),
        mask=mask,
        all_anchors=anchors,
        scale_x_y=s.number("scale_x_y", 1.0, low=0),
        nms_kind=s.choice_or("nms_kind", "default", _NMS, "default"),
        beta_nms=s.number("beta_nms", 0.6),
        training=_training(s),
    )


def _region(at: Context) -> L.Layer:
    s = at.section
    s.known(_TRAINING_ONLY)
    classes, num = s.integer("classes", 20, low=1), s.integer("num", 1, low=1)
    if (coords := s.integer("coords", 4)) != 4:
        raise s.error(f"only boxes of 4 numbers can be decoded, found {coords}", "coords")
    _check_channels(at, num * (classes + 5), f"{num} anchors of {classes} classes + 5")
    return L.Region(
        **at.base,
        output=at.input,
        classes=classes,
        anchors=_anchors(s, num),
        softmax=s.flag("softmax"),
        background=s.flag("background"),
        tree=read_named_tree(s, at.folder, classes),
        class_map=read_named_map(s, at.folder, classes),
        training=_training(s),
    )


def _anchors(section: Section, num: int) -> tuple[tuple[float, float], ...]:
    """Return the anchors; without the option, Darknet's default of 0.5 x 0.5."""
    values = section.numbers("anchors", (0.5, 0.5) * num)
    if len(values) > 2 * num:
        section.warn(f"has {len(values)} numbers, the first {2 * num} are used", "anchors")
        values = values[: 2 * num]
    if len(values) != 2 * num or min(values) <= 0:
        raise section.error(
            f"expected {2 * num} numbers above 0 (width, height of {num} anchors), "
            f"found {len(values)}",
            "anchors",
        )
    return tuple(zip(values[::2], values[1::2], strict=True))


def _check_channels(at: Context, expected: int, why: str) -> None:
    if at.input.channels != expected:
        raise at.section.error(
            f"needs {expected} input channels ({why}), has {at.input.channels}; fix filters= of "
            "the layer before it",
            "classes",
        )


def _training(s: Section) -> L.HeadTraining:
    s.check_numbers(*_UNUSED_NUMBERS)
    return L.HeadTraining(
        ignore_thresh=s.number("ignore_thresh", 0.5),
        iou_thresh=s.number("iou_thresh", 1.0),
        iou_loss=s.choice_or("iou_loss", "mse", _IOU_LOSS, "iou"),
        iou_normalizer=s.number("iou_normalizer", 0.75),
        obj_normalizer=s.number("obj_normalizer", 1.0),
        cls_normalizer=s.number("cls_normalizer", 1.0),
        label_smooth_eps=s.number("label_smooth_eps", 0.0),
        jitter=s.number("jitter", 0.2),
        resize=s.number("resize", 1.0),
    )


def _detection(at: Context) -> L.Layer:
    s = at.section
    s.known(_DETECTION_TRAINING_ONLY)
    s.check_numbers("rescore", "softmax", "sqrt")
    classes, coords = s.integer("classes", 1, low=1), s.integer("coords", 1, low=1)
    num, side = s.integer("num", 1, low=1), s.integer("side", 7, low=1)
    expected = side * side * ((1 + coords) * num + classes)
    if at.input.size != expected:
        raise s.error(f"needs {expected} inputs (side, num, coords, classes), has {at.input.size}")
    return L.Detection(**at.base, output=at.input)


HEADS: Mapping[str, Callable[[Context], L.Layer]] = {
    "yolo": _yolo,
    "gaussian_yolo": _gaussian_yolo,
    "region": _region,
    "detection": _detection,
}
