"""Augmentation of training images: crop, flip, colours, mosaic, with the .cfg's options.

Images are uint8[height, width, 3], RGB. Boxes are float32[n, 4]: centre x, centre y, width,
height in pixels. Source of the settings: load_data_detection of AlexeyAB's fork.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from darknet.cfg import Cfg
from darknet.model import RgbImage
from darknet.training.arrays import FloatArray, IntArray, floats

MIN_VISIBLE = 0.25
"""Smallest part of an object's area after cropping for which the object is kept."""
FILL = (127, 127, 127)
"""Colour outside the image, which is 0.5 in Darknet's letterbox."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its labelled objects.

    Attributes:
        image: uint8[height, width, 3], RGB.
        boxes: float32[n, 4], centre x, centre y, width, height in pixels of ``image``.
        class_ids: int32[n].
    """

    image: RgbImage
    boxes: FloatArray
    class_ids: IntArray


@dataclass(frozen=True)
class Augmentation:
    """The ranges of random augmentation.

    Attributes:
        size: width and height of the result in pixels.
        jitter: largest shift of each side of the crop, relative to the image's width or height.
        resize: largest factor of the crop's size; the smallest is its inverse.
        hue: largest rotation of the hue, relative to the full circle.
        saturation: largest factor; the smallest is its inverse.
        exposure: largest factor; the smallest is its inverse.
        flip: flip horizontally with probability 0.5.
        flip_vertical: flip vertically with probability 0.5.
        letter_box: keep the aspect ratio.
    """

    size: tuple[int, int]
    jitter: float
    resize: float
    hue: float
    saturation: float
    exposure: float
    flip: bool
    flip_vertical: bool
    letter_box: bool

    @classmethod
    def of(cls, cfg: Cfg, *, flip_vertical: bool = False) -> Augmentation:
        """Return the ranges in a .cfg; jitter and resize are options of the last head."""
        net, head = cfg.net, cfg.heads[-1].training
        return cls(
            size=(net.input.width, net.input.height),
            jitter=head.jitter,
            resize=head.resize,
            hue=net.hue,
            saturation=net.saturation,
            exposure=net.exposure,
            flip=net.flip,
            flip_vertical=flip_vertical,
            letter_box=bool(net.letter_box),
        )

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Return an augmented copy of the network's size."""
        matrix = self._matrix(sample.image.shape[1], sample.image.shape[0], random)
        return self._colours(warp(sample, matrix, self.size), random)

    def mosaic(self, samples: tuple[Sample, ...], random: np.random.Generator) -> Sample:
        """Combine four augmented images, split at a random point within the middle 60 %."""
        width, height = self.size
        x, y = (int(random.uniform(0.2, 0.8) * length) for length in self.size)
        image = np.empty((height, width, 3), np.uint8)
        boxes, class_ids = [], []
        corners = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
        for sample, (left, top, right, bottom) in zip(samples, corners, strict=True):
            # Crop instead of shrinking, so that objects keep their size.
            part = crop(self(sample, random), left, top, right, bottom)
            image[top:bottom, left:right] = part.image
            boxes.append(part.boxes + floats((left, top, 0, 0)))
            class_ids.append(part.class_ids)
        return Sample(image, np.concatenate(boxes), np.concatenate(class_ids))

    def _matrix(self, width: int, height: int, random: np.random.Generator) -> FloatArray:
        """Return a random affine map from image to input: [[sx, 0, tx], [0, sy, ty]]."""
        scale = random.uniform(1 / self.resize, self.resize)
        left, right = random.uniform(-self.jitter, self.jitter, 2) * width
        top, bottom = random.uniform(-self.jitter, self.jitter, 2) * height
        crop_width, crop_height = (width - left - right) * scale, (height - top - bottom) * scale
        x, y = (width + left - right - crop_width) / 2, (height + top - bottom - crop_height) / 2
        sx, sy = self.size[0] / crop_width, self.size[1] / crop_height
        if self.letter_box:
            sx = sy = min(sx, sy)
            x -= (self.size[0] / sx - crop_width) / 2
            y -= (self.size[1] / sy - crop_height) / 2
        matrix = floats([[sx, 0, -x * sx], [0, sy, -y * sy]])
        for axis, flip in enumerate((self.flip, self.flip_vertical)):
            if flip and random.random() < 0.5:
                matrix[axis] *= -1
                matrix[axis, 2] += self.size[axis]
        return matrix

    def _colours(self, sample: Sample, random: np.random.Generator) -> Sample:
        rotation = random.uniform(-self.hue, self.hue) * 180  # OpenCV's hue is 0..179
        saturation, exposure = (
            limit ** random.uniform(-1, 1) for limit in (self.saturation, self.exposure)
        )
        steps = np.arange(256)
        tables = np.stack(
            ((steps + rotation) % 180, steps * saturation, steps * exposure), axis=-1
        ).clip(0, 255)
        hsv = cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV)
        hsv = cv2.LUT(hsv, tables.round().astype(np.uint8)[None])
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        return Sample(np.asarray(image, np.uint8), sample.boxes, sample.class_ids)


def warp(sample: Sample, matrix: FloatArray, size: tuple[int, int]) -> Sample:
    """Scale, flip and shift an image and its boxes; drop objects that are mostly outside."""
    image = cv2.warpAffine(sample.image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=FILL)
    scale, shift = matrix[[0, 1], [0, 1]], matrix[:, 2]
    centre = sample.boxes[:, :2] * scale + shift
    extent = sample.boxes[:, 2:] * np.abs(scale)
    whole = Sample(
        np.asarray(image, np.uint8), np.concatenate((centre, extent), 1), sample.class_ids
    )
    return crop(whole, 0, 0, *size)


def crop(sample: Sample, left: int, top: int, right: int, bottom: int) -> Sample:
    """Crop an image, clip its boxes, and drop objects of which too little is left."""
    low = sample.boxes[:, :2] - sample.boxes[:, 2:] / 2
    high = sample.boxes[:, :2] + sample.boxes[:, 2:] / 2
    edges = floats((left, top)), floats((right, bottom))
    low, high = np.clip(low, *edges) - edges[0], np.clip(high, *edges) - edges[0]
    boxes = np.concatenate(((low + high) / 2, high - low), axis=1)
    area, before = boxes[:, 2:].prod(1), sample.boxes[:, 2:].prod(1)
    keep = (area > 0) & (area >= MIN_VISIBLE * before)
    image = sample.image[top:bottom, left:right]
    return Sample(image, boxes[keep], sample.class_ids[keep])
