"""Options, settings and the progress bar that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from darknet.model import EngineName, Precision
from yolo_service.models.opening import ensure_model
from yolo_service.schemes import scheme_of
from yolo_service.settings import Settings, load_settings

Command = Callable[..., None]


class _Folder(click.Path):
    """A path of a folder, which an address is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if scheme_of(str(value)):
            self.fail(f"{value} is an address; expected a folder", param, ctx)
        return super().convert(value, param, ctx)


path = click.Path(path_type=Path)
FOLDER = _Folder(file_okay=False, path_type=Path)
models_dir_option = click.option(
    "--models-dir",
    type=path,
    help="Folder of models; default: YOLO_MODELS_DIR, else ./models, else the user's data folder.",
)
input_size_option = click.option(
    "--input-size",
    help="Size of the network's input, such as 416 or 640x480; default: YOLO_INPUT_SIZE, else the "
    "model's own.",
)
device_option = click.option(
    "--device", help="cpu, cuda, cuda:1, or a device name of the engine; default: YOLO_DEVICE."
)
model_option = click.option("--model", help="Name of the model's folder; default: YOLO_MODEL.")


def engine_options(command: Command) -> Command:
    """Add the options that select the model and its engine."""
    options = (
        models_dir_option,
        model_option,
        click.option(
            "--engine",
            type=click.Choice(get_args(EngineName)),
            help="Inference engine; default: YOLO_ENGINE, else auto.",
        ),
        device_option,
        click.option(
            "--precision",
            type=click.Choice(get_args(Precision)),
            help="Number type; default: YOLO_PRECISION, else fp32.",
        ),
        input_size_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def settings_from(**options: Any) -> Settings:
    """Read the settings; options that are given take precedence over the environment."""
    return load_settings(**{name: value for name, value in options.items() if value is not None})


def settings_with_model(**options: Any) -> Settings:
    """Read the settings, and pull their default model if it is not complete."""
    settings = settings_from(**options)
    ensure_model(settings, progress_bar)
    return settings


@contextmanager
def needs_train() -> Iterator[None]:
    """Turn a missing package of the extra ``train`` into a message that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing; pip install 'yolo-service[train]'"
        raise click.ClickException(message) from error


@contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Draw a bar on standard error; without a terminal, print a line for every tenth."""
    if not sys.stderr.isatty():
        yield _print_tenths(label, total)
        return
    with click.progressbar(length=total or 0, label=label, file=sys.stderr) as bar:
        yield lambda done: bar.update(done - bar.pos)


def _print_tenths(label: str, total: int | None) -> Callable[[int], None]:
    printed = -1

    def show(done: int) -> None:
        nonlocal printed
        tenth = 10 * done // total if total else 0
        if tenth > printed:
            printed = tenth
            of = f" of {total / 1e6:.1f} MB, {10 * tenth} %" if total else ""
            click.echo(f"{label}: {done / 1e6:.1f}{of}", err=True)

    return show
