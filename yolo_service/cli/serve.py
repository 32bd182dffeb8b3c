"""The command ``yolo-service serve``."""

from __future__ import annotations

import sys
from typing import Any

import click

from yolo_service.cli.models import progress_bar
from yolo_service.cli.options import engine_options, settings_from
from yolo_service.models.pull import ensure_model


@click.command()
@engine_options
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
def serve(**options: Any) -> None:
    """Serve detections over HTTP until SIGTERM or SIGINT."""
    from yolo_service.http.serve import serve as serve_forever

    settings = settings_from(options)
    ensure_model(settings, progress_bar)
    sys.exit(serve_forever(settings))
