"""The command ``yolo-service serve``."""

from __future__ import annotations

import sys
from typing import Any

import click

from yolo_service.cli.options import engine_options, settings_with_model


@click.command()
@engine_options
@click.option("--host", help="Address to listen on; default: YOLO_HOST, else 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; default: YOLO_PORT, else 8080.")
def serve(**options: Any) -> None:
    """Serve detections over HTTP until SIGTERM or SIGINT."""
    from yolo_service.http.serve import serve as serve_forever

    sys.exit(serve_forever(settings_with_model(**options)))
