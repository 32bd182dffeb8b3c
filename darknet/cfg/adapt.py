"""The text of a .cfg for other classes: heads, the convolutions before them, anchors, schedule."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.reader import Cfg, parse_cfg
from darknet.cfg.sections import Section, parse_sections
from darknet.errors import CfgError

BATCHES_PER_CLASS, LEAST_BATCHES = 2000, 6000
"""Length of a training as Darknet's documentation advises it."""

_LINE_END = re.compile(r"\r\n|\n|\r")


class _Edit(NamedTuple):
    section: Section
    option: str
    value: str


class Adapted(NamedTuple):
    """A .cfg for other classes.

    Attributes:
        text: of the .cfg.
        unchanged: number of layers from the first on whose weights another training may start with.
    """

    text: str
    unchanged: int


def adapt(cfg: Cfg, classes: int, anchors: Sequence[tuple[float, float]] | None = None) -> Adapted:
    """Return a network for another number of classes, to be trained; comments stay.

    Args:
        cfg: a detector with ``[yolo]`` heads.
        classes: number of classes, at least 1.
        anchors: (width, height) in pixels of the network's input, by rising area, as many as
            ``anchor_count`` returns; None: those of the .cfg.

    Raises:
        CfgError: the network has other heads, or none behind a convolution.
    """
    sections = parse_sections(cfg.text, cfg.source)
    edits = list(_schedule(sections[0], classes))
    changed = []
    for head in _yolo_heads(cfg):
        before = cfg.layers[head.index - 1] if head.index else head
        if not isinstance(before, L.Convolutional):
            raise sections[head.index + 1].error("expected a [convolutional] section before it")
        filters = len(head.mask) * (classes + 5)
        edits.append(_Edit(sections[head.index], "filters", str(filters)))
        edits.append(_Edit(sections[head.index + 1], "classes", str(classes)))
        if anchors is not None:
            text = ", ".join(f"{width:.0f},{height:.0f}" for width, height in anchors)
            edits.append(_Edit(sections[head.index + 1], "anchors", text))
        changed.append(before.index)
    text = _edited(cfg.text, edits)
    parse_cfg(text, source=cfg.source)
    return Adapted(text, min(changed))


def anchor_count(cfg: Cfg) -> int:
    """Return how many anchors the heads of a .cfg share.

    Raises:
        CfgError: the heads have different numbers of anchors.
    """
    counts = {len(head.all_anchors) for head in _yolo_heads(cfg)}
    if len(counts) != 1:
        raise CfgError(f"its heads have {sorted(counts)} anchors, not one list", source=cfg.source)
    return counts.pop()


def _yolo_heads(cfg: Cfg) -> list[L.Yolo]:
    heads = [head for head in cfg.heads if isinstance(head, L.Yolo)]
    if not heads or len(heads) != len(cfg.heads):
        raise CfgError("expected a network whose heads are [yolo] sections", source=cfg.source)
    return heads


def _schedule(net: Section, classes: int) -> Iterator[_Edit]:
    """Yield the options of a training; a .cfg for detection has a batch of one image."""
    batches = max(LEAST_BATCHES, BATCHES_PER_CLASS * classes)
    yield _Edit(net, "max_batches", str(batches))
    if net.text("policy", "constant") == "steps":
        yield _Edit(net, "steps", f"{batches * 8 // 10},{batches * 9 // 10}")
        yield _Edit(net, "scales", ".1,.1")
    if net.integer("batch", 1) == 1:
        yield _Edit(net, "batch", "64")
        yield _Edit(net, "subdivisions", "16")


def _edited(text: str, edits: Sequence[_Edit]) -> str:
    """Return the text with options replaced in their lines, or added below the section's header."""
    lines = _LINE_END.split(text)
    for section, option, value in edits:
        found = section.options.get(option)
        new = f"{option}={value}"
        if found:
            lines[found.line - 1] = new
        else:
            lines[section.line - 1] += f"\n{new}"
    return "\n".join(lines)
