"""The tables, plots and images that training and evaluation write."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from darknet.detections import Detections
from darknet.model import RgbImage
from darknet.training.arrays import floats
from darknet.training.dataset import LabelledImage
from darknet.training.metrics import IntArray, Metrics

COLUMNS = ("epoch", "batches", "seen", "learning_rate", "loss", "box", "objectness", "classes")
"""First columns of results.csv; map50, map and ap50 of each class follow, empty if unknown."""
DRAW_THRESHOLD = 0.25
"""Confidence threshold of the boxes drawn."""
_COLOURS = ((230, 60, 60), (60, 60, 230), (40, 170, 60), (220, 150, 0), (150, 60, 200))
MAX_CURVES = 10
"""Largest number of classes with a curve each; of more, only the mean is drawn."""
MAX_NUMBERED = 20
"""Largest number of classes for which a confusion matrix shows its counts."""


Row = dict[str, float | int]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write results.csv from the start, so that a resumed training duplicates no row."""
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for row in rows:
            short = {k: f"{v:.5g}" if isinstance(v, float) else str(v) for k, v in row.items()}
            writer.writerow(short)


def plot_results(path: Path, rows: Sequence[Row]) -> None:
    """Plot loss and mAP over the number of images seen."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    loss = figure.subplots()
    loss.semilogy([row["seen"] for row in rows], [row["loss"] for row in rows], color="tab:gray")
    loss.set(xlabel="images seen", ylabel="loss")
    measured = [row for row in rows if "map50" in row]
    seen, quality = [row["seen"] for row in measured], loss.twinx()
    for name, label in (("map50", "mAP@0.5"), ("map", "mAP@0.5:0.95")):
        quality.plot(seen, [row[name] for row in measured], label=label)
    quality.set(ylabel="mAP", ylim=(0, 1))
    quality.legend(loc="center right")
    figure.savefig(path, dpi=100)


def plot_confusion(path: Path, names: Sequence[str], counts: IntArray) -> None:
    """Plot a confusion matrix with each row relative to its sum; see ``confusion_matrix``."""
    labels = [*names, "nothing"]
    parts = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(4 + 0.35 * len(labels), 20)
    axes = (figure := Figure((side + 1, side), layout="constrained")).subplots()
    figure.colorbar(axes.imshow(parts, cmap="Blues", vmin=0, vmax=1))
    axes.set(xlabel="found", ylabel="truth")
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= MAX_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if parts[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path, dpi=100)


def plot_precision_recall(path: Path, metrics: Metrics) -> None:
    """Plot precision over recall at IoU 0.5: the mean, and up to ``MAX_CURVES`` classes."""
    recall = np.linspace(0, 1, len(metrics.precision))
    axes = (figure := Figure((6, 5), layout="constrained")).subplots()
    measured = [number for number, ap in enumerate(metrics.ap50) if not np.isnan(ap)]
    if len(measured) <= MAX_CURVES:
        for number in measured:
            label = f"{metrics.names[number]} {metrics.ap50[number]:.3f}"
            axes.plot(recall, metrics.precision[:, number], label=label)
    mean = metrics.precision[:, measured].mean(1)
    axes.plot(recall, mean, color="black", linewidth=2, label=f"mean {metrics.map50:.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower left")
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
