"""Models and images for the tests of the C library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from darknet.cfg import Cfg, parse_cfg
from darknet.engines.libdarknet import LibdarknetEngine, load
from darknet.model import Dialect, Model, Resize, RgbImage
from tests.support.networks import TINY, random_weights


def tiny_with(old: str, new: str) -> str:
    """Return TINY with one option changed."""
    assert old in TINY
    return TINY.replace(old, new, 1)


def model_of(
    text: str, *, dialect: Dialect = "pjreddie", resize: Resize = "letterbox", use_map: bool = False
) -> Model:
    return model_from(parse_cfg(text), dialect, resize, use_map)


def model_from(cfg: Cfg, dialect: Dialect, resize: Resize, use_map: bool = False) -> Model:
    names = tuple(f"class {i}" for i in range(cfg.classes))
    return Model(cfg, random_weights(cfg), names, dialect, resize, use_map)


def engine_of(model: Model, library: Path | None = None) -> LibdarknetEngine:
    return load(model, library=library, device=None)


def an_image(height: int = 50, width: int = 90) -> RgbImage:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
