"""The files of a run: results.csv, results.png and validation.jpg."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from darknet.detections import Detections
from darknet.model import RgbImage
from darknet.training.arrays import floats
from darknet.training.dataset import LabelledImage

COLUMNS = ("epoch", "batches", "seen", "learning_rate", "loss", "box", "objectness", "classes")
"""First columns of results.csv; map50, map and ap50 of each class follow, empty if unknown."""
DRAW_THRESHOLD = 0.25
"""Confidence threshold of the boxes drawn."""
_COLOURS = ((230, 60, 60), (60, 60, 230), (40, 170, 60), (220, 150, 0), (150, 60, 200))

Row = dict[str, float | int]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write results.csv from the start, so that a resumed training duplicates no row."""
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({name: _short(value) for name, value in row.items()} for row in rows)


def _short(value: float) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else value


def plot_results(path: Path, rows: Sequence[Row]) -> None:
    """Plot loss and mAP over the number of images seen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    loss = figure.subplots()
    loss.semilogy([row["seen"] for row in rows], [row["loss"] for row in rows], color="tab:gray")
    loss.set(xlabel="images seen", ylabel="loss")
    measured = [row for row in rows if "map50" in row]
    quality = loss.twinx()
    for name, colour in (("map50", "tab:blue"), ("map", "tab:orange")):
        quality.plot(
            [row["seen"] for row in measured],
            [row[name] for row in measured],
            color=colour,
            label={"map50": "mAP@0.5", "map": "mAP@0.5:0.95"}[name],
        )
    quality.set(ylabel="mAP", ylim=(0, 1))
    quality.legend(loc="center right")
    figure.savefig(path, dpi=100)


def draw_images(path: Path, images: Sequence[LabelledImage], found: Sequence[Detections]) -> None:
    """Write validation images with their detections into one file, two per row."""
    tiles = [
        _tile(image, one)
        for labelled, one in zip(images, found, strict=True)
        if (image := labelled.load()) is not None
    ]
    tiles += tiles[:1] * (len(tiles) % 2)
    rows = [np.hstack(tiles[start : start + 2]) for start in range(0, len(tiles), 2)]
    if rows:
        cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _tile(image: RgbImage, found: Detections, size: tuple[int, int] = (480, 360)) -> RgbImage:
    scale = floats(size) / floats(image.shape[1::-1])
    tile = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    corners = (found.corners * np.tile(scale, 2)).round().astype(int).tolist()
    for corner, score, class_id in zip(corners, found.scores, found.class_ids, strict=True):
        if score > DRAW_THRESHOLD:
            colour = _COLOURS[class_id % len(_COLOURS)]
            cv2.rectangle(tile, corner[:2], corner[2:], colour, 2)
            label = f"{found.names[class_id]} {score:.2f}"
            at = (corner[0], max(10, corner[1] - 3))
            cv2.putText(tile, label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)
