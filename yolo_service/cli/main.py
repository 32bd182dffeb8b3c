"""The command ``yolo-service``: the group of commands, and exit codes of errors."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import click

from darknet import DarknetError
from yolo_service import process
from yolo_service.cli.benchmark import benchmark
from yolo_service.cli.detect import detect
from yolo_service.cli.doctor import doctor
from yolo_service.cli.models import models
from yolo_service.cli.quantize import quantize
from yolo_service.cli.serve import serve
from yolo_service.cli.train import evaluate, train
from yolo_service.errors import ConfigurationError, PipelineError, ServiceError
from yolo_service.settings import unknown_variables


class WrongSettings(click.ClickException):
    """A setting or an option that is wrong."""

    exit_code = 2


class Commands(click.Group):
    """Prints errors as one message; the exit code is 2 for wrong settings, else 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (DarknetError, PipelineError, ServiceError) as error:
            raise click.ClickException(str(error)) from error
        except ConfigurationError as error:
            raise WrongSettings(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("yolo-service"), prog_name="yolo-service")
@click.pass_context
def main(context: click.Context) -> None:
    """Any Darknet model on the command line and over HTTP, with Darknet's own detections.

    Options that are not given are read from environment variables; the README lists them.
    """
    process.keep_stdout_for_results()
    if context.invoked_subcommand != "serve":  # which logs them
        for fault in unknown_variables():
            click.echo(f"warning: {fault}", err=True)


for command in (serve, detect, models, train, evaluate, quantize, doctor, benchmark):
    main.add_command(command)


if __name__ == "__main__":
    main()
