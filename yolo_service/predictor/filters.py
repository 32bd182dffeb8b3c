"""Which detections of an image are kept: those of some classes, those in a region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from darknet.detections import Detections
from yolo_service.errors import BadRequest

BoolArray = npt.NDArray[np.bool_]


class Region(NamedTuple):
    """A rectangle in an image.

    Attributes:
        x: left edge, in pixels; or as part of the width, if no number is larger than 1.
        y: upper edge, likewise of the height.
        width: likewise.
        height: likewise.
    """

    x: float
    y: float
    width: float
    height: float

    def contains_centres(self, found: Detections, size: tuple[int, int]) -> BoolArray:
        """Return which boxes have their centre in the region of an image of this size."""
        unit = size if max(self) <= 1 else (1, 1)
        start = np.array((self.x, self.y)) * unit
        end = start + np.array((self.width, self.height)) * unit
        centres = found.boxes[:, :2]
        inside: BoolArray = np.all((centres >= start) & (centres <= end), axis=1)
        return inside


def parse_region(text: str) -> Region:
    """Read ``x,y,width,height``.

    Raises:
        BadRequest: it is no region.
    """
    try:
        region = Region(*map(float, text.split(",")))
    except (TypeError, ValueError):
        region = Region(-1, -1, -1, -1)
    is_usual = all(math.isfinite(number) and number >= 0 for number in region)
    if not (is_usual and region.width > 0 and region.height > 0):
        raise BadRequest(
            "expected x,y,width,height in pixels or as parts of the image (0 to 1), "
            f"found {text!r}",
            name="region",
        )
    return region


def parse_classes(text: str) -> tuple[str, ...]:
    """Read names or numbers of classes, separated by commas.

    Raises:
        BadRequest: there is none.
    """
    classes = tuple(name.strip() for name in text.split(",") if name.strip())
    if not classes:
        raise BadRequest("expected names of classes, separated by commas", name="classes")
    return classes


def class_ids(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the numbers of classes that are named, or numbered where no name fits.

    Raises:
        BadRequest: the model has no such class.
    """
    return [i for wanted in classes for i in _class_ids(wanted, names)]


def _class_ids(wanted: str, names: Sequence[str]) -> list[int]:
    if found := [i for i, name in enumerate(names) if name == wanted]:
        return found
    if wanted.isdecimal() and int(wanted) < len(names):
        return [int(wanted)]
    near = get_close_matches(wanted, names, n=3, cutoff=0.4) or list(names[:3])
    raise BadRequest(
        f"the model has no class {wanted!r}; it has {', '.join(near)}"
        f"{' and others' if len(names) > len(near) else ''}",
        name="classes",
    )


def keep(
    found: Detections, size: tuple[int, int], classes: Sequence[str], region: Region | None
) -> Detections:
    """Return the detections of some classes whose centre is in a region.

    Args:
        found: in pixels of the image.
        size: width and height of the image.
        classes: see ``class_ids``; empty: all.
        region: None: the whole image, and what reaches beyond it.

    Raises:
        BadRequest: the model has no such class.
    """
    if classes:
        found = found.where(np.isin(found.class_ids, class_ids(classes, found.names)))
    if region:
        found = found.where(region.contains_centres(found, size))
    return found
