"""The command ``yolo-service quantize``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from darknet.errors import QuantizationError
from darknet.model import RgbImage
from yolo_service.cli.options import (
    input_size_option,
    model_option,
    models_dir_option,
    settings_with_model,
)
from yolo_service.errors import ServiceError
from yolo_service.models.opening import default_files

MOST = 300
"""Most images that are used; more do not change the ranges."""
SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


@click.command()
@models_dir_option
@model_option
@input_size_option
@click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with a hundred or so images such as the model will see.",
)
def quantize(images: Path, **options: Any) -> None:
    """Make the int8 version of a model that --precision int8 uses; needs no labels.

    It is written beside the .weights file. Compare its accuracy with `yolo-service evaluate --all`
    and its speed with `yolo-service benchmark`.
    """
    from darknet import quantization

    settings = settings_with_model(**options)
    files = default_files(settings)
    samples = ImageFiles(find_images(images), settings.max_pixels)
    with redirect_stdout(sys.stderr):  # for NNCF's progress bars
        path = quantization.quantize(images=samples, **files.load_arguments())
    click.echo(f"{files.name}: int8 version in {path}, calibrated on {len(samples)} images")


class ImageFiles:
    """Images that are decoded one by one, because together they may not fit into memory."""

    def __init__(self, paths: Sequence[Path], max_pixels: int) -> None:
        self._paths, self._max_pixels = paths, max_pixels

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[RgbImage]:
        return map(self._read, self._paths)

    def _read(self, path: Path) -> RgbImage:
        from yolo_service.images.decode import decode

        try:
            return decode(path.read_bytes(), max_pixels=self._max_pixels)
        except (OSError, ServiceError) as error:
            raise QuantizationError(f"{path}: {error}; repair or remove it") from error


def find_images(folder: Path) -> list[Path]:
    """Return a folder's images by name; of more than ``MOST``, an even selection.

    Raises:
        QuantizationError: there are none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        kinds = ", ".join(sorted(SUFFIXES))
        raise QuantizationError(f"{folder}: expected images ({kinds}), found none")
    return paths[:: -(-len(paths) // MOST)]
