"""Evaluate a loaded network: COCO metrics, confusion matrix, curves and throughput."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darknet.detections import Detections
from darknet.errors import DarknetError, DataError
from darknet.model import EngineName, Precision
from darknet.network import Network
from darknet.training.dataset import Dataset, LabelledImage
from darknet.training.metrics import (
    THRESHOLDS,
    IntArray,
    Metrics,
    coco_metrics,
    confusion_matrix,
)
from darknet.training.report import plot_confusion, plot_precision_recall

IMAGES_PER_CALL = 16
"""Images per call of ``Network.detect``."""
COMBINATIONS: tuple[tuple[EngineName, Precision], ...] = (
    ("libdarknet", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "fast"),
    ("openvino", "int8"),
    ("onnxruntime", "fp32"),
    ("onnxruntime", "fast"),
)
"""The engines and precisions that ``compare`` evaluates."""

Load = Callable[[EngineName, Precision], Network]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of a network on labelled images.

    Attributes:
        engine: name of the engine.
        device: name of the device.
        precision: number type: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        metrics: average precision by COCO's rules.
        confusion: int64[classes + 1, classes + 1] at the default threshold; see
            ``confusion_matrix``.
        images_per_second: of ``Network.detect`` on decoded images, one caller.
        images: number of images.
    """

    engine: str
    device: str
    precision: str
    metrics: Metrics
    confusion: IntArray
    images_per_second: float
    images: int

    def as_dict(self) -> dict[str, Any]:
        """Return the results for JSON; the values of a class without objects are None."""
        metrics = self.metrics
        return {
            "engine": self.engine,
            "device": self.device,
            "precision": self.precision,
            "images": self.images,
            "images_per_second": round(self.images_per_second, 2),
            "map50": metrics.map50,
            "map": metrics.map,
            "map_small_medium_large": list(map(_or_none, metrics.by_area)),
            "classes": {
                name: {"ap50": _or_none(ap50), "ap": _or_none(ap)}
                for name, ap50, ap in zip(metrics.names, metrics.ap50, metrics.ap, strict=True)
            },
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True)
class Missing:
    """An engine or precision that is not available for this machine or model."""

    engine: str
    precision: str
    reason: str


def evaluate(network: Network, dataset: Dataset) -> Evaluation:
    """Evaluate a network on labelled images; one that cannot be decoded is replaced by black.

    Raises:
        DataError: the data set and the network have different classes.
        EngineError: the engine failed.
    """
    if dataset.names != network.names:
        raise DataError(
            f"the network has {len(network.names)} classes ({', '.join(network.names[:5])} ...), "
            f"the data {len(dataset.names)} ({', '.join(dataset.names[:5])} ...)"
        )
    found: list[Detections] = []
    seconds = 0.0
    for start in range(0, len(dataset.images), IMAGES_PER_CALL):
        images = [_image(labelled) for labelled in dataset.images[start : start + IMAGES_PER_CALL]]
        begin = time.perf_counter()
        found += network.detect(images, THRESHOLDS.threshold, THRESHOLDS.nms)
        seconds += time.perf_counter() - begin
    return Evaluation(
        network.engine_name,
        network.device,
        network.precision,
        coco_metrics(dataset, found),
        confusion_matrix(dataset, found),
        len(found) / seconds,
        len(found),
    )


def compare(load: Load, dataset: Dataset) -> Iterator[Evaluation | Missing]:
    """Evaluate every engine and precision of ``COMBINATIONS``, one after the other."""
    for engine, precision in COMBINATIONS:
        try:
            with load(engine, precision) as network:
                yield evaluate(network, dataset)
        except DarknetError as error:
            yield Missing(engine, precision, str(error))


def table(rows: Iterable[Evaluation | Missing]) -> Iterator[str]:
    """Yield the lines of a table, header first, each row as soon as it is available."""
    head = ("engine", "device", "type", "mAP@0.5", "mAP@0.5:0.95", "img/s")
    yield "{:<12} {:<8} {:<5} {:>8} {:>13} {:>8}".format(*head)
    for row in rows:
        if isinstance(row, Missing):
            yield f"{row.engine:<12} {'-':<8} {row.precision:<5} {row.reason}"
            continue
        yield (
            f"{row.engine:<12} {row.device:<8} {row.precision:<5} {100 * row.metrics.map50:>8.2f} "
            f"{100 * row.metrics.map:>13.2f} {row.images_per_second:>8.1f}"
        )


def class_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield a header, and the average precisions of each class that has objects."""
    yield f"{'class':<27} {'AP@0.5':>8} {'AP@0.5:0.95':>13}"
    metrics = evaluation.metrics
    for name, ap50, ap in zip(metrics.names, metrics.ap50, metrics.ap, strict=True):
        if not np.isnan(ap50):
            yield f"{name:<27} {100 * ap50:>8.2f} {100 * ap:>13.2f}"


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write metrics.json, classes.csv, confusion.png and precision-recall.png."""
    folder.mkdir(parents=True, exist_ok=True)
    values = evaluation.as_dict()
    (folder / "metrics.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    with (folder / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("class", "ap50", "ap"))
        for name, row in values["classes"].items():
            writer.writerow((name, row["ap50"], row["ap"]))
    plot_confusion(folder / "confusion.png", evaluation.metrics.names, evaluation.confusion)
    plot_precision_recall(folder / "precision-recall.png", evaluation.metrics)


def _image(labelled: LabelledImage) -> Any:
    image = labelled.load()
    return np.zeros((labelled.height, labelled.width, 3), np.uint8) if image is None else image


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
