"""OpenCV's decoder, which reads every format."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from darknet.model import RgbImage


def decode_by_opencv(data: bytes) -> RgbImage | None:
    """Decode an image at full size, upright and in RGB.

    Args:
        data: the encoded file; OpenCV refuses one that is cut off.

    Returns:
        uint8[height, width, 3], RGB; None if it cannot be decoded.
    """
    _silence_opencv()
    encoded = np.frombuffer(data, np.uint8)
    try:
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


@functools.cache
def _silence_opencv() -> None:
    """Keep OpenCV from logging each damaged upload on stderr; the client gets the error."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
