"""Accuracy and speed with and without tiles, on labelled images that are enlarged.

Usage: python -m benchmarks.tiles MODELS_DIR MODEL DATA [--factor 3] [--tiles 2x2 3x3 auto]

DATA is labelled images as for ``yolo-service evaluate``. They are enlarged as a camera of more
pixels would have them, submitted to the predictor, and what it finds is compared with the labels at
the original size: small objects are those below 32 x 32 pixels there.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from darknet.detections import Detections
from darknet.training.metrics import THRESHOLDS, coco_metrics
from darknet.training.readers import read_dataset
from yolo_service import process
from yolo_service.predictor import Options, Predictor, open_predictor
from yolo_service.settings import load_settings
from yolo_service.threads import submit_each


def main() -> None:
    """Print a row for each way of cutting."""
    options = _options()
    settings = load_settings(models_dir=options.models_dir, model=options.model)
    process.tune()
    with open_predictor(settings) as predictor:
        dataset = read_dataset(options.data, predictor.models.get().network.names)
        images = [_enlarged(each.path, options.factor) for each in dataset.images]
        print("| tiles | mAP@0.5 | mAP@0.5:0.95 | small | medium | large | images/s |")
        print("|---|---|---|---|---|---|---|")
        for tiles in (None, *options.tiles):
            began = time.perf_counter()
            found = _detect(predictor, images, options.factor, tiles)
            rate = len(found) / (time.perf_counter() - began)
            metrics = coco_metrics(dataset, found)
            values = (metrics.map50, metrics.map, *metrics.by_area)
            cells = " | ".join(f"{100 * value:.1f}" for value in values)
            print(f"| {tiles or 'none'} | {cells} | {rate:.1f} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--factor", type=int, default=3)
    parser.add_argument("--tiles", nargs="+", default=["2x2", "2x2:0.3", "3x3", "4x4", "auto"])
    return parser.parse_args()


def _enlarged(path: Path, factor: int) -> bytes:
    """Return an image as a JPEG that is so many times as wide and as high."""
    image = cv2.imread(str(path))
    assert image is not None
    large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.imencode(".jpg", large)[1]).tobytes()


def _detect(
    predictor: Predictor, images: list[bytes], factor: int, tiles: str | None
) -> list[Detections]:
    """Return what is found in the enlarged images, in pixels of the original ones."""
    options = Options(threshold=THRESHOLDS.threshold, nms=THRESHOLDS.nms, tiles=tiles)
    submit = partial(predictor.submit, options=options)
    futures = submit_each(images, submit, predictor.items_ahead)
    return [future.result().detections.scaled(1 / factor, 1 / factor) for future in futures]


if __name__ == "__main__":
    main()
