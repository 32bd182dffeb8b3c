"""Batches of tensors from labelled images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from darknet.cfg import Cfg
from darknet.model import Resize, RgbImage
from darknet.resize import resize_into
from darknet.training.arrays import floats
from darknet.training.augment import FILL, Augmentation, Sample
from darknet.training.dataset import Dataset, LabelledImage

log = logging.getLogger(__name__)

CACHED_IMAGES = 512
"""Decoded images that each process caches; one of 640 x 480 takes 0.9 MB."""


class Batch(NamedTuple):
    """Images and labelled objects of one step.

    Attributes:
        images: uint8[n, 3, height, width], RGB, channels last in memory.
        truth: float32[m, 6]: index of the image in the batch, class, and centre x, centre y,
            width, height relative to the input, 0..1.
    """

    images: Tensor
    truth: Tensor


class TrainingImages(TorchDataset[Sample]):
    """Augmented images; an epoch is every image once, and random ones to fill the last batch."""

    def __init__(self, dataset: Dataset, cfg: Cfg, *, flip_vertical: bool) -> None:
        self.images = dataset.images
        self.augmentation = Augmentation.of(cfg, flip_vertical=flip_vertical)
        self.mosaic = cfg.net.mosaic
        self.length = -(-len(self.images) // cfg.net.batch) * cfg.net.batch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        # PyTorch seeds every worker and epoch differently; NumPy's seed is taken from it.
        random = np.random.default_rng(int(torch.randint(2**62, ())))
        if index >= len(self.images):
            index = int(random.integers(len(self.images)))
        first = _sample(self.images[index])
        if not self.mosaic or random.random() < 0.5:  # as in Darknet
            return self.augmentation(first, random)
        others = random.integers(len(self.images), size=3)
        return self.augmentation.mosaic((first, *(_sample(self.images[i]) for i in others)), random)


class ValidationImages(TorchDataset[tuple[int, Tensor]]):
    """(index, float32[3, height, width]): images resized as the engines resize them."""

    def __init__(self, dataset: Dataset, cfg: Cfg, resize: Resize) -> None:
        self.images, self.size, self.resize = dataset.images, cfg.net.input, resize

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        image = np.empty(self.size, np.float32)
        resize_into(_sample(self.images[index]).image, image, self.resize)
        return index, torch.from_numpy(image)


def collate(samples: Sequence[Sample]) -> Batch:
    """Combine samples of the same size to a batch."""
    height, width = samples[0].image.shape[:2]
    size = floats((width, height, width, height))
    rows = [
        np.column_stack((np.full(len(one.boxes), i), one.class_ids, one.boxes / size))
        for i, one in enumerate(samples)
    ]
    images = torch.from_numpy(np.stack([one.image for one in samples]))
    truth = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    return Batch(images.permute(0, 3, 1, 2), truth)


def limit_opencv_threads(_worker: int) -> None:
    """Limit OpenCV to one thread in a worker process."""
    cv2.setNumThreads(1)


def _sample(labelled: LabelledImage) -> Sample:
    """Decode an image; crowds are left out, because their objects are not labelled one by one."""
    image = _image(labelled)
    if image is None:  # one damaged file does not end a long training
        grey = np.full((labelled.height, labelled.width, 3), FILL, np.uint8)
        return Sample(grey, labelled.boxes[:0], labelled.class_ids[:0])
    return Sample(image, labelled.boxes[~labelled.crowd], labelled.class_ids[~labelled.crowd])


@lru_cache(maxsize=CACHED_IMAGES)
def _image(labelled: LabelledImage) -> RgbImage | None:
    image = labelled.load()
    if image is None:
        log.warning("%s cannot be decoded; a grey image replaces it", labelled.path)
    return image
