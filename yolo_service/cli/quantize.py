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
from yolo_service.cli.models import progress_bar
from yolo_service.errors import ServiceError
from yolo_service.models.opening import default_files
from yolo_service.models.pull import ensure_model
from yolo_service.settings import load_settings

MOST = 300
"""Images that are looked at; more change the ranges no further."""
SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


@click.command()
@click.option("--models-dir", type=click.Path(path_type=Path), help="Folder of models.")
@click.option("--model", help="Name of the model's folder.")
@click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with a hundred or so images such as the model will see.",
)
def quantize(images: Path, **options: Any) -> None:
    """Make a model's int8 version, which --precision int8 then takes; needs no labels.

    It is kept beside the .weights file. Afterwards `yolo-service evaluate --all` tells what it
    costs in accuracy, and `yolo-service benchmark` what it gains in speed.
    """
    from darknet import quantization

    given = {name: value for name, value in options.items() if value is not None}
    settings = load_settings(**given)
    ensure_model(settings, progress_bar)
    files = default_files(settings)
    samples = ImageFiles(find_images(images), settings.max_pixels)
    own = files.options
    with redirect_stdout(sys.stderr):  # where NNCF's progress bars belong
        path = quantization.quantize(
            files.cfg,
            files.weights,
            files.names,
            samples,
            dialect=own.dialect,
            resize=own.resize,
            use_map=own.use_map,
        )
    click.echo(f"{files.name}: int8 version in {path}, looked at {len(samples)} images")


class ImageFiles:
    """Files that are decoded one by one: together they would not fit the memory."""

    def __init__(self, paths: Sequence[Path], max_pixels: int) -> None:
        self._paths, self._max_pixels = paths, max_pixels

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[RgbImage]:
        return map(self._read, self._paths)

    def _read(self, path: Path) -> RgbImage:
        from yolo_service.images.decode import (
            decode,  # brings OpenCV, which other commands do without
        )

        try:
            return decode(path.read_bytes(), max_pixels=self._max_pixels)
        except (OSError, ServiceError) as error:
            raise QuantizationError(f"{path}: {error}; mend it or take it away") from error


def find_images(folder: Path) -> list[Path]:
    """Return a folder's images by name; of many, ``MOST`` from all over it.

    Raises:
        QuantizationError: there are none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        kinds = ", ".join(sorted(SUFFIXES))
        raise QuantizationError(f"{folder}: expected images ({kinds}), found none")
    return paths[:: -(-len(paths) // MOST)]
