"""Drawing of bounding boxes with labels on images, and encoding of images."""

from __future__ import annotations

import colorsys
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from darknet.detections import Detections, FloatArray
from darknet.model import RgbImage

Colour = tuple[int, int, int]
Kind = Literal["jpeg", "png"]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

FONT = "sans"  # built into OpenCV; Latin, Greek, Cyrillic, Hebrew, Arabic and Chinese
WEIGHT = 500
MAX_NAME = 40  # letters
MAX_DRAWN = 1000  # detections; at threshold 0 there can be a million
JPEG_QUALITY = 90

_GOLDEN_RATIO = 0.618033988749895


class _Box(NamedTuple):
    """A rectangle in integer pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class _Font(NamedTuple):
    """A font and the height of its letters in pixels."""

    face: cv2.FontFace
    size: int

    def width(self, text: str) -> int:
        return int(cv2.getTextSize((0, 0), text, (0, 0), self.face, self.size, WEIGHT)[2])


class _Label(NamedTuple):
    """A line of text and the size of its background in pixels."""

    text: str
    width: int
    height: int


def draw(image: RgbImage, detections: Detections) -> RgbImage:
    """Return a copy of an image with a bounding box and a label for each detection.

    The widths of lines and the size of letters are in proportion to the image. Detections of higher
    confidence are drawn over others and are labelled first; only the ``MAX_DRAWN`` of the highest
    are drawn. Each class has its own colour, the same in every image.

    Args:
        image: uint8[height, width, 3], RGB; it is not changed.
        detections: boxes in pixels of this image; they may reach beyond it.

    Returns:
        uint8[height, width, 3], RGB.
    """
    canvas = np.array(image, np.uint8, order="C")
    height, width = canvas.shape[:2]
    font = _Font(cv2.FontFace(FONT), _font_size(width, height))
    best = _best(detections)
    boxes = [_clip(corners, width, height) for corners in best.corners]
    colours = [class_colour(int(i)) for i in best.class_ids]
    labels = [
        _label(name, float(score), font, width)
        for name, score in zip(best.labels, best.scores, strict=True)
    ]
    rectangles = _place(labels, boxes, width, height)
    worst_first = range(len(best) - 1, -1, -1)
    for i in worst_first:
        _draw_box(canvas, boxes[i], colours[i], max(1, font.size // 8))
    for i in worst_first:
        _draw_label(canvas, labels[i], rectangles[i], colours[i], font)
    return canvas


def draw_file(image: RgbImage, detections: Detections, kind: Kind) -> bytes:
    """Return an image file with what ``draw`` draws; takes the memory of one copy less."""
    canvas = draw(image, detections)
    return _encode_bgr(cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR, dst=canvas), kind)


def class_colour(class_id: int) -> Colour:
    """Return the RGB colour of a class: bright, and unlike those of neighbouring classes.

    Hues are a golden ratio apart, so that none repeats; source: "How to generate random colors
    programmatically" (Martin Ankerl, 2009).
    """
    hue = class_id * _GOLDEN_RATIO % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0 if class_id % 2 == 0 else 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def encode(image: RgbImage, kind: Kind) -> bytes:
    """Return an image as a JPEG or PNG file.

    Args:
        image: uint8[height, width, 3], RGB.
        kind: "jpeg" with quality ``JPEG_QUALITY``, or "png", which is lossless.
    """
    return _encode_bgr(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), kind)


def _encode_bgr(image: MatLike, kind: Kind) -> bytes:
    parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else []
    return cv2.imencode(f".{kind}", image, parameters)[1].tobytes()


def _best(detections: Detections) -> Detections:
    """Return the detections that are drawn, highest confidence first."""
    found = detections.by_score()
    kept = slice(MAX_DRAWN)
    return Detections(found.boxes[kept], found.scores[kept], found.class_ids[kept], found.names)


def _font_size(width: int, height: int) -> int:
    """Return the height of letters in pixels: in proportion to the image, at least legible."""
    return max(11, round((width + height) / 60))


def _clip(corners: FloatArray, width: int, height: int) -> _Box:
    """Return a box in integer pixels; sides outside of the image stay outside."""
    beyond = max(width, height)
    left, top, right, bottom = np.clip(corners, -beyond, 2 * beyond).round().astype(int)
    return _Box(int(left), int(top), int(right), int(bottom))


def _draw_box(canvas: RgbImage, box: _Box, colour: Colour, line: int) -> None:
    """Draw a rectangle with an outline of contrasting colour, visible on any background."""
    start, end = (box.left, box.top), (box.right, box.bottom)
    cv2.rectangle(canvas, start, end, _contrast(colour), line + 2)
    cv2.rectangle(canvas, start, end, colour, line)


def _label(name: str, score: float, font: _Font, max_width: int) -> _Label:
    """Return the label of a detection, its name shortened until it is at most so wide."""
    # unprintable characters are invisible, and half of a surrogate pair crashes OpenCV
    name = "".join(c if c.isprintable() else "?" for c in name)
    for kept in range(min(len(name), MAX_NAME), -1, -1):
        text = f"{_shorten(name, kept)} {score:.2f}".strip()
        width = font.width(text) + font.size // 2
        if width <= max_width:
            break
    return _Label(text, width, round(1.4 * font.size))


def _shorten(name: str, kept: int) -> str:
    return name if kept == len(name) else f"{name[:kept]}…" if kept else ""


def _place(labels: list[_Label], boxes: list[_Box], width: int, height: int) -> list[_Box]:
    """Return the rectangle of each label: at its box, in the image, if possible on no other."""
    placed = np.empty((len(labels), 4), int)
    for i, (label, box) in enumerate(zip(labels, boxes, strict=True)):
        candidates = [_inside(label, *corner, width, height) for corner in _corners(box, label)]
        free = (c for c in candidates if not _overlaps(c, placed[:i]))
        placed[i] = next(free, candidates[0])
    return [_Box(*map(int, rectangle)) for rectangle in placed]


def _corners(box: _Box, label: _Label) -> list[tuple[int, int]]:
    """Return candidates for the label's left top: above, in and below the box, left and right."""
    top, bottom = max(0, box.top), box.bottom
    right = box.right - label.width
    return [
        (box.left, box.top - label.height),
        (box.left, top),
        (box.left, bottom - label.height),
        (box.left, bottom),
        (right, box.top - label.height),
        (right, top),
        (right, bottom),
    ]


def _inside(label: _Label, left: int, top: int, width: int, height: int) -> _Box:
    left = max(0, min(left, width - label.width))
    top = max(0, min(top, height - label.height))
    return _Box(left, top, left + label.width, top + label.height)


def _overlaps(rectangle: _Box, others: npt.NDArray[np.int_]) -> bool:
    left, top, right, bottom = others.T
    apart = (rectangle.right <= left) | (right <= rectangle.left)
    apart |= (rectangle.bottom <= top) | (bottom <= rectangle.top)
    return not apart.all()


def _draw_label(
    canvas: RgbImage, label: _Label, rectangle: _Box, colour: Colour, font: _Font
) -> None:
    end = (rectangle.right - 1, rectangle.bottom - 1)
    cv2.rectangle(canvas, (rectangle.left, rectangle.top), end, colour, cv2.FILLED)
    start = (rectangle.left + font.size // 4, rectangle.top + round(1.05 * font.size))
    cv2.putText(canvas, label.text, start, _contrast(colour), font.face, font.size, WEIGHT)


def _contrast(colour: Colour) -> Colour:
    """Return black or white, whichever stands out more: at least 4.5 to 1 (WCAG 2)."""
    linear = ((c / 255 + 0.055) / 1.055 for c in colour)
    red, green, blue = (c**2.4 for c in linear)
    return BLACK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else WHITE
