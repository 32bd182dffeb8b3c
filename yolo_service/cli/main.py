"""The command ``yolo-service``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import click

from darknet import DarknetError, Network
from darknet.model import EngineName, Precision
from yolo_service.cli.doctor import doctor
from yolo_service.cli.models import models, progress_bar
from yolo_service.cli.quantize import quantize
from yolo_service.cli.train import evaluate, train
from yolo_service.errors import ConfigurationError, ServiceError
from yolo_service.models.pull import ensure_model
from yolo_service.models.repository import default_files, load_files
from yolo_service.settings import Settings, load_settings

Command = Callable[..., None]


class WrongSettings(click.ClickException):
    """The environment or an option asks for what cannot be."""

    exit_code = 2


class Commands(click.Group):
    """Turns every designed error into one message; exit code 2 for settings, else 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (DarknetError, ServiceError) as error:
            raise click.ClickException(str(error)) from error
        except ConfigurationError as error:
            raise WrongSettings(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("yolo-service"), prog_name="yolo-service")
def main() -> None:
    """Any Darknet model over HTTP, with Darknet's own detections.

    Options not given come from the environment, see the README.
    """


def engine_options(command: Command) -> Command:
    """Add the options that say which model is computed by what."""
    options = (
        click.option("--models-dir", type=click.Path(path_type=Path), help="Folder of models."),
        click.option("--model", help="Name of the model's folder."),
        click.option("--engine", type=click.Choice(get_args(EngineName)), help="Who computes."),
        click.option("--device", help="cpu, cuda, cuda:1, or an engine's own name for one."),
        click.option("--precision", type=click.Choice(get_args(Precision)), help="Number type."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@engine_options
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
def serve(**options: Any) -> None:
    """Serve detections over HTTP until SIGTERM or SIGINT."""
    from yolo_service.http.app import serve as serve_forever

    settings = _settings(options)
    ensure_model(settings, progress_bar)
    sys.exit(serve_forever(settings))


@main.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@engine_options
@click.option("--threshold", type=click.FloatRange(0, 1), help="Smallest confidence.")
@click.option("--nms", type=click.FloatRange(0, 1), help="Largest overlap of two boxes.")
@click.option("--draw", type=click.Path(file_okay=False, path_type=Path), help="Folder for images.")
def detect(
    images: tuple[Path, ...],
    threshold: float | None,
    nms: float | None,
    draw: Path | None,
    **options: Any,
) -> None:
    """Detect objects in IMAGES, files or folders; one line of JSON for each.

    An image that cannot be read gets a line with "error" and does not stop the others; the exit
    code is then 1.
    """
    from yolo_service.predictor.offline import FileDetector

    settings = _settings(options)
    ensure_model(settings, progress_bar)
    files = default_files(settings)
    failed = 0
    with load_files(files, settings) as network, _progress(images) as paths:
        thresholds = files.options.thresholds(threshold, nms, None)
        detector = FileDetector(network, files.name, thresholds, settings.max_pixels, draw)
        for answer in detector.answers(paths):
            failed += "error" in answer
            click.echo(json.dumps(answer, ensure_ascii=False))
    sys.exit(1 if failed else 0)


main.add_command(models)
main.add_command(train)
main.add_command(evaluate)
main.add_command(quantize)
main.add_command(doctor)


@main.command()
@engine_options
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True)
@click.option("--threads", type=click.IntRange(1, 256), help="Callers at once; default: CPUs.")
def benchmark(image: Path | None, seconds: float, threads: int | None, **options: Any) -> None:
    """Time every engine and precision of this machine, side by side with libdarknet."""
    from yolo_service.benchmark import Benchmark, benchmark_image, table

    settings = _settings(options)
    ensure_model(settings, progress_bar)
    files = default_files(settings)

    def load(engine: EngineName, precision: Precision, streams: int) -> Network:
        chosen = settings.model_copy(update={"engine": engine, "precision": precision})
        return load_files(files, chosen, streams)

    pixels = benchmark_image(image)
    click.echo(f"model {files.name}, image {pixels.shape[1]} x {pixels.shape[0]}")
    for line in table(Benchmark(load, pixels, seconds, threads or settings.workers).rows()):
        click.echo(line)


def _settings(options: dict[str, Any]) -> Settings:
    """Options that were given count before the environment."""
    return load_settings(**{name: value for name, value in options.items() if value is not None})


def _progress(images: tuple[Path, ...]) -> Any:
    """Count the images on standard error while somebody looks at it."""
    paths = list(_images(images))
    return click.progressbar(paths, file=sys.stderr, label="detecting", hidden=len(paths) < 2)


def _images(images: tuple[Path, ...]) -> Iterator[Path]:
    """Yield files as given, and the files of folders by name."""
    for path in images:
        if path.is_dir():
            yield from sorted(child for child in path.iterdir() if child.is_file())
        else:
            yield path
