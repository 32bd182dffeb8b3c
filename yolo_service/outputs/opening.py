"""Opens the output that a sink of the command line names."""

from __future__ import annotations

from typing import cast

from yolo_service.outputs.files import open_path, open_stdout
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.output import Output
from yolo_service.schemes import Scheme, load, scheme_of

SCHEMES = {
    "redis": Scheme("yolo_service.outputs.redis", "redis"),
    "rediss": Scheme("yolo_service.outputs.redis", "redis"),
    "s3": Scheme("yolo_service.outputs.s3", "s3"),
}
"""Modules whose ``open_output(address, options)`` returns an ``Output``."""


def open_output(sink: str | None, options: OutputOptions) -> Output:
    """Open a sink; None: standard output.

    Raises:
        ConfigurationError: its scheme is unknown, what it needs is not installed, it exists, or the
            format does not fit it.
        OutputError: it cannot be written to.
    """
    if sink is None:
        return open_stdout(options)
    scheme = scheme_of(sink)
    if scheme is None:
        return open_path(sink, options)
    return cast(Output, load(scheme, SCHEMES).open_output(sink, options))
