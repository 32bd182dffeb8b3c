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

KEPT = 512
"""Decoded images that each process keeps in memory; 640 x 480 takes 0.9 MB."""


class Batch(NamedTuple):
    """Images and objects of one step.

    Attributes:
        images: uint8[n, 3, height, width], RGB, channels last in memory.
        truth: float32[m, 6]: number of the image in the batch, class, and centre x, centre y,
            width, height as parts of the input, 0..1.
    """

    images: Tensor
    truth: Tensor


class TrainingImages(TorchDataset[Sample]):
    """Varied images; an epoch is every image once, filled up to whole batches at random."""

    def __init__(self, dataset: Dataset, cfg: Cfg, *, flip_vertical: bool) -> None:
        self.images = dataset.images
        self.varied = Augmentation.of(cfg, flip_vertical=flip_vertical)
        self.mosaic = cfg.net.mosaic
        self.length = -(-len(self.images) // cfg.net.batch) * cfg.net.batch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        # torch seeds itself anew in every worker and epoch; numpy follows it.
        random = np.random.default_rng(int(torch.randint(2**62, ())))
        if index >= len(self.images):
            index = int(random.integers(len(self.images)))
        first = _sample(self.images[index])
        if not self.mosaic or random.random() < 0.5:  # Darknet, too, makes every other one
            return self.varied(first, random)
        others = random.integers(len(self.images), size=3)
        return self.varied.mosaic((first, *(_sample(self.images[i]) for i in others)), random)


class ValidationImages(TorchDataset[tuple[int, Tensor]]):
    """(index, float32[3, height, width]): images as the engines would be given them."""

    def __init__(self, dataset: Dataset, cfg: Cfg, resize: Resize) -> None:
        self.images, self.size, self.resize = dataset.images, cfg.net.input, resize

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        image = np.empty(self.size, np.float32)
        resize_into(_sample(self.images[index]).image, image, self.resize)
        return index, torch.from_numpy(image)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size; see ``Batch``."""
    height, width = samples[0].image.shape[:2]
    size = floats((width, height, width, height))
    rows = [
        np.column_stack((np.full(len(one.boxes), i), one.class_ids, one.boxes / size))
        for i, one in enumerate(samples)
    ]
    images = torch.from_numpy(np.stack([one.image for one in samples]))
    truth = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    return Batch(images.permute(0, 3, 1, 2), truth)


def one_thread(_worker: int) -> None:
    """Keep OpenCV from starting threads in every worker."""
    cv2.setNumThreads(1)


def _sample(labelled: LabelledImage) -> Sample:
    """Decode; crowds are left out, as nobody can say how many objects they are."""
    image = _image(labelled)
    if image is None:  # the header was fine; a night of training is worth more than one image
        grey = np.full((labelled.height, labelled.width, 3), FILL, np.uint8)
        return Sample(grey, labelled.boxes[:0], labelled.class_ids[:0])
    return Sample(image, labelled.boxes[~labelled.crowd], labelled.class_ids[~labelled.crowd])


@lru_cache(maxsize=KEPT)
def _image(labelled: LabelledImage) -> RgbImage | None:
    image = labelled.load()
    if image is None:
        log.warning("%s cannot be decoded; trained on as a grey image", labelled.path)
    return image
