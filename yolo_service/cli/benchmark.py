"""The command ``yolo-service benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from darknet import Network
from darknet.model import EngineName, Precision
from yolo_service.cli.options import (
    device_option,
    input_size_option,
    model_option,
    models_dir_option,
    settings_with_model,
)
from yolo_service.models.opening import default_files, load_files


@click.command()
@models_dir_option
@model_option
@device_option
@input_size_option
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Image to detect in; default: a generated one of 768 x 576.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=3.0,
    show_default=True,
    help="Duration of each measurement.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="Callers at once; default: YOLO_WORKERS, else CPUs + 1.",
)
def benchmark(image: Path | None, seconds: float, threads: int | None, **options: Any) -> None:
    """Time every engine and precision of this machine, side by side with libdarknet."""
    from yolo_service.benchmark import Benchmark, benchmark_image, table

    settings = settings_with_model(**options)
    files = default_files(settings)

    def load(engine: EngineName, precision: Precision, streams: int) -> Network:
        return load_files(files, settings, streams, engine=engine, precision=precision)

    pixels = benchmark_image(image)
    click.echo(f"model {files.name}, image {pixels.shape[1]} x {pixels.shape[0]}")
    for line in table(Benchmark(load, pixels, seconds, threads or settings.workers).rows()):
        click.echo(line)
