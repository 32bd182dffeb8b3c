"""Plots of an evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from darknet.training.metrics import IntArray, Metrics

MAX_CURVES = 10
"""Largest number of classes with a curve each; of more, only the mean is drawn."""
MAX_NUMBERED = 20
"""Largest number of classes for which a confusion matrix shows its counts."""


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
