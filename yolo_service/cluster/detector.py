"""Detection in the rows of a Ray dataset, as a library.

::

    ds = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
    ds = ds.map_batches(Detector, fn_constructor_kwargs={"model": "blood-cells"},
                        batch_size=64, num_cpus=1, concurrency=4)
    ds.write_parquet("s3://bucket/detections")
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from yolo_service.cluster.actor import ActorPredictor, limits_of
from yolo_service.errors import ItemError
from yolo_service.formats.columns import SIDES, detection_rows
from yolo_service.inputs.address import read_address
from yolo_service.inputs.options import InputOptions
from yolo_service.models.bundle import ModelBundle
from yolo_service.predictor import Answer, Image, Options
from yolo_service.predictor.filters import parse_classes, parse_region
from yolo_service.settings import load_settings

DETECTION = pa.struct(
    [
        ("label", pa.string()),
        ("class_id", pa.int32()),
        ("confidence", pa.float32()),
        *((side, pa.float32()) for side in SIDES),
    ]
)
"""One detection; the sides are in pixels of the image."""

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("detections", pa.list_(DETECTION)),
        ("error", pa.string()),
    ]
)
"""The columns that are added; of an image that failed all are null but ``error``."""

_DROPPED = ("bytes", "image")
_IMAGES = (*_DROPPED, "path")


class Detector:
    """A callable class for ``Dataset.map_batches``: detects in the image of each row.

    The image is in the first of these columns that there is: ``bytes``, the file as
    ``read_binary_files`` gives it; ``image``, uint8[height, width, 3], red first, as
    ``read_images`` gives it; ``path``, an absolute path or an ``s3://`` or ``https://`` address.
    ``bytes`` and ``image`` are left out of the result, all other columns stay, and those of
    ``SCHEMA`` are added: detections are sorted, the most confident first.

    Args:
        model: name of a model in the folder of models of each machine; None: its default model.
        bundle: the model itself, which travels with the job; see ``ModelBundle.of``.
        threshold: smallest confidence, 0..1; None: the model's own.
        nms: largest overlap of two boxes of a class, 0..1; None: the model's own.
        tiles: how images are cut for small objects, such as ``2x2`` or ``auto``.
        classes: only these, by name or number: ``person,car``.
        region: only what is in ``x,y,width,height``, in pixels or from 0 to 1.
        settings: of the service by name, such as ``engine`` or ``precision``; others are read from
            the variables ``YOLO_...`` of the machine.

    Raises:
        ConfigurationError: there is no such model, or a setting is wrong.
        BadRequest: an option cannot be read.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        bundle: ModelBundle | None = None,
        threshold: float | None = None,
        nms: float | None = None,
        tiles: str | None = None,
        classes: str | None = None,
        region: str | None = None,
        **settings: Any,
    ) -> None:
        options = Options(
            threshold=threshold,
            nms=nms,
            tiles=tiles,
            classes=parse_classes(classes) if classes else (),
            region=parse_region(region) if region else None,
        )
        own = load_settings(**settings, **({"model": model} if model else {}))
        self._limits = limits_of(own)
        self._predictor = ActorPredictor(own, options, bundle)

    def __call__(self, batch: pa.Table | Mapping[str, Any]) -> pa.Table:
        """Detect in the images of a batch.

        Args:
            batch: a table, or columns by name.

        Raises:
            ItemError: there is no column with images.
        """
        reads = [functools.partial(_image, value, self._limits) for value in _images(batch)]
        rows = [_row(outcome) for outcome in self._predictor.answers(reads)]
        added = pa.Table.from_pylist(rows, SCHEMA)
        return pa.table(_kept(batch) | {name: added[name] for name in SCHEMA.names})


def _images(batch: pa.Table | Mapping[str, Any]) -> Sequence[Any]:
    names = batch.column_names if isinstance(batch, pa.Table) else list(batch)
    name = next((name for name in _IMAGES if name in names), None)
    if name is None:
        raise ItemError(
            f"expected a column bytes, image or path, found {', '.join(names) or 'none'}"
        )
    column = batch[name]
    return column.to_pylist() if isinstance(batch, pa.Table) else list(column)


def _kept(batch: pa.Table | Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that stay."""
    if isinstance(batch, pa.Table):
        return {name: batch[name] for name in batch.column_names if name not in _DROPPED}
    kept = {name: values for name, values in batch.items() if name not in _DROPPED}
    return {name: pa.array(_plain(values)) for name, values in kept.items()}


def _plain(values: Any) -> Any:
    """Return a column as Arrow takes it: arrays of one dimension, else lists."""
    array = np.asarray(values)
    return array if array.ndim == 1 else array.tolist()


def _image(value: Any, limits: InputOptions) -> Image:
    if isinstance(value, str | os.PathLike):
        return read_address(os.fspath(value), limits)
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        return _pixels(value)
    raise ItemError(f"expected an image, found {type(value).__name__}")


def _pixels(value: np.ndarray[Any, Any]) -> Image:
    """Return an array as the predictor takes it: of uint8, with three channels."""
    if value.dtype != np.uint8 or value.ndim not in (2, 3) or not value.size:
        raise ItemError(f"expected uint8[height, width, 3], found {value.dtype}{list(value.shape)}")
    if value.ndim == 2 or value.shape[2] == 1:
        value = np.repeat(value.reshape(*value.shape[:2], 1), 3, axis=2)
    if value.shape[2] not in (3, 4):
        raise ItemError(f"expected 3 channels, found {value.shape[2]}")
    return np.ascontiguousarray(value[:, :, :3])


def _row(outcome: Answer | Exception) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"error": str(outcome)}
    size = {"width": outcome.width, "height": outcome.height}
    found = detection_rows(outcome)
    return {"model": outcome.model, **size, "detections": found, "error": None}
