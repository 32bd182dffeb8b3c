"""Labelled images, independent of the format they were read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from darknet.errors import DataError
from darknet.model import RgbImage
from darknet.training.arrays import BoolArray, FloatArray, IntArray

TOLERANCE = 1.0
"""Pixels by which a box may leave its image without a problem: labelling tools round."""
MAX_NAMED_PROBLEMS = 20
"""Problems that a summary lists; further ones are only counted."""
_EXIF_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


@dataclass(frozen=True)
class Problem:
    """A mistake in a data set: its kind, and where it is."""

    kind: str
    where: str


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image file and its labelled objects.

    Attributes:
        path: the file.
        width: in pixels, with the EXIF orientation applied.
        height: in pixels, with the EXIF orientation applied.
        boxes: float32[n, 4], centre x, centre y, width, height in pixels, within the image.
        class_ids: int32[n].
        crowd: bool[n]: COCO's ``iscrowd``; such a box is around several objects.
    """

    path: Path
    width: int
    height: int
    boxes: FloatArray
    class_ids: IntArray
    crowd: BoolArray

    def load(self) -> RgbImage | None:
        """Decode the file to uint8[height, width, 3], RGB; None if that fails."""
        image = cv2.imread(str(self.path), cv2.IMREAD_COLOR_RGB)
        return None if image is None else np.asarray(image, np.uint8)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with one list of class names, and the problems found while reading them."""

    names: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def objects(self) -> int:
        """Number of labelled objects."""
        return sum(len(labelled.class_ids) for labelled in self.images)

    def summary(self) -> str:
        """Return the counts, then one line per problem up to ``MAX_NAMED_PROBLEMS``."""
        lines = [f"{len(self.images)} images, {self.objects} objects"]
        if self.problems:
            counts = Counter(problem.kind for problem in self.problems)
            lines[0] += "; " + ", ".join(f"{kind}: {n}" for kind, n in counts.most_common())
        lines += [
            f"  {problem.kind}: {problem.where}" for problem in self.problems[:MAX_NAMED_PROBLEMS]
        ]
        if len(self.problems) > MAX_NAMED_PROBLEMS:
            lines.append(f"  ... and {len(self.problems) - MAX_NAMED_PROBLEMS} more")
        return "\n".join(lines)


def merge(datasets: Sequence[Dataset]) -> Dataset:
    """Return one data set with the images of one or more, in order.

    Raises:
        DataError: they have different classes.
    """
    names = datasets[0].names
    for dataset in datasets:
        if dataset.names != names:
            raise DataError(
                "data sets can be trained on together only if they have the same classes in the "
                f"same order; found {', '.join(names)} and {', '.join(dataset.names)}"
            )
    images = tuple(image for dataset in datasets for image in dataset.images)
    problems = tuple(problem for dataset in datasets for problem in dataset.problems)
    return Dataset(names, images, problems)


@dataclass(frozen=True)
class Label:
    """A labelled object as it is in a file.

    Attributes:
        name: name or index of the class.
        corners: left, top, right, bottom in pixels, or relative to the image.
        crowd: COCO's ``iscrowd``.
        relative: the corners are relative to the image, 0..1.
    """

    name: str | int
    corners: tuple[float, float, float, float]
    crowd: bool = False
    relative: bool = False


class Collector:
    """Builds a ``Dataset`` from labels and collects problems, for example unknown classes."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.problems: list[Problem] = []
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._images: list[LabelledImage] = []

    def problem(self, kind: str, where: object) -> None:
        """Add a problem."""
        self.problems.append(Problem(kind, str(where)))

    def add(self, path: Path, labels: Iterable[Label]) -> None:
        """Add an image; a missing or unreadable file becomes a problem instead."""
        size = self._size(path)
        if size is None:
            return
        rows = [row for label in labels if (row := self._row(path, size, label))]
        if not rows:
            self.problem("no objects", path)
        boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
        ids, crowd = [row[1] for row in rows], [row[2] for row in rows]
        self._images.append(
            LabelledImage(path, *size, boxes, np.array(ids, np.int32), np.array(crowd, bool))
        )

    def finish(self, source: Path, *, strict: bool) -> Dataset:
        """Return the data set.

        Raises:
            DataError: there is no labelled object, or ``strict`` and there is a problem.
        """
        dataset = Dataset(self.names, tuple(self._images), tuple(self.problems))
        if not dataset.objects:
            raise DataError(
                f"{source}: no labelled object of {', '.join(self.names)}: {dataset.summary()}"
            )
        if strict and self.problems:
            raise DataError(f"{source}: refused, because --strict is on: {dataset.summary()}")
        return dataset

    def _size(self, path: Path) -> tuple[int, int] | None:
        if not path.is_file():
            self.problem("missing image", path)
            return None
        try:
            with Image.open(path) as image:
                turned = image.getexif().get(_EXIF_ORIENTATION) in _ON_ITS_SIDE
                return image.size[::-1] if turned else image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            self.problem("unreadable image", path)
            return None

    def _row(
        self, path: Path, size: tuple[int, int], label: Label
    ) -> tuple[FloatArray, int, bool] | None:
        where = f"{path}: {label.name} at {tuple(round(value, 1) for value in label.corners)}"
        number = label.name if isinstance(label.name, int) else self._numbers.get(label.name, -1)
        if not 0 <= number < len(self.names):
            self.problem("unknown class", where)
            return None
        corners = np.array(label.corners, np.float64)
        if label.relative:
            corners *= np.array((*size, *size))
        if not np.isfinite(corners).all() or (corners[2:] <= corners[:2]).any():
            self.problem("empty box", where)
            return None
        clipped = np.clip(corners, 0, np.array((*size, *size)))
        if np.abs(clipped - corners).max() > TOLERANCE:
            self.problem("box outside its image", where)
        if (clipped[2:] - clipped[:2] < 1).any():
            return None
        box = np.concatenate(((clipped[:2] + clipped[2:]) / 2, clipped[2:] - clipped[:2]))
        return box.astype(np.float32), number, label.crowd
