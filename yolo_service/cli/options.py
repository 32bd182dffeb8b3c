"""Options and settings that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from darknet.model import EngineName, Precision
from yolo_service.settings import Settings, load_settings

Command = Callable[..., None]


def engine_options(command: Command) -> Command:
    """Add the options that say which model is computed by what."""
    options = (
        click.option("--models-dir", type=click.Path(path_type=Path), help="Folder of models."),
        click.option("--model", help="Name of the model's folder."),
        click.option("--engine", type=click.Choice(get_args(EngineName)), help="Inference engine."),
        click.option("--device", help="cpu, cuda, cuda:1, or an engine's own name for one."),
        click.option("--precision", type=click.Choice(get_args(Precision)), help="Number type."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def settings_from(options: dict[str, Any]) -> Settings:
    """Read the settings; options that were given count before the environment."""
    return load_settings(**{name: value for name, value in options.items() if value is not None})
