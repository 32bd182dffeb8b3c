"""Cells and anchors of a detection head as numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from darknet.cfg.layers import Head, Shape, Yolo

Numbers = npt.NDArray[np.float64]


class Geometry(NamedTuple):
    """Where the boxes of a head are.

    A box is (centre in the cell, size in anchors) * (scale of the anchor) + (origin of the cell):
    centre x, centre y, width, height relative to the network's input.

    Attributes:
        scales: float64[anchors, 4].
        origins: float64[cells, 4], row by row.
    """

    scales: Numbers
    origins: Numbers


def geometry(layer: Head, net: Shape) -> Geometry:
    """Return the geometry of a head.

    Args:
        layer: the head; the anchors of a ``[yolo]`` layer are pixels of the network's input, those
            of a ``[region]`` layer are cells.
        net: shape of the network's input.
    """
    _, height, width = layer.input
    is_yolo = isinstance(layer, Yolo)
    x_unit, y_unit = (net.width, net.height) if is_yolo else (width, height)
    scale_x_y = layer.scale_x_y if isinstance(layer, Yolo) else 1.0
    shift = 0.5 * (scale_x_y - 1)
    return Geometry(
        np.array(
            [
                (scale_x_y / width, scale_x_y / height, w / x_unit, h / y_unit)
                for w, h in layer.anchors
            ]
        ),
        np.array(
            [
                ((x - shift) / width, (y - shift) / height, 0, 0)
                for y in range(height)
                for x in range(width)
            ]
        ),
    )
