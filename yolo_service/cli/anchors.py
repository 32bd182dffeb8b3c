"""Anchors that fit labelled images; needs the extra ``train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from darknet.cfg import Cfg


def fit_anchors(
    cfg: Cfg, names: Sequence[str], data: Sequence[Path], count: int
) -> tuple[list[tuple[float, float]], float]:
    """Return anchors in pixels of the network's input, and their mean IoU with the objects.

    Raises:
        DataError: the data cannot be read, or have fewer sizes of objects than ``count``.
        ModuleNotFoundError: the extra is not installed.
    """
    from darknet.training.anchors import compute_anchors
    from darknet.training.dataset import merge
    from darknet.training.readers import read_dataset

    dataset = merge([read_dataset(path, names) for path in data])
    sizes, fit = compute_anchors(dataset, cfg.net.input, count)
    return [(float(width), float(height)) for width, height in sizes], fit
