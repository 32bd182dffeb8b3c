"""Opens the output that a sink of the command line names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from yolo_service.outputs.output import Output
from yolo_service.schemes import Scheme, load, scheme_of

SCHEMES = {
    "redis": Scheme("yolo_service.outputs.redis", "redis"),
    "rediss": Scheme("yolo_service.outputs.redis", "redis"),
    "s3": Scheme("yolo_service.outputs.s3", "s3"),
}
"""Modules whose ``open_output(address, options)`` returns an ``Output``."""


@dataclass(frozen=True)
class OutputOptions:
    """What the command line says about an output.

    Attributes:
        format: a name of ``formats.FORMATS``; None: the output's own default.
        resume: whether results of an earlier run are kept and added to.
    """

    format: str | None = None
    resume: bool = False


def open_output(sink: str, options: OutputOptions) -> Output:
    """Open a sink.

    Raises:
        ConfigurationError: its scheme is unknown, what it needs is not installed, or the format
            does not fit it.
        OutputError: it cannot be written to.
    """
    scheme = scheme_of(sink)
    module = load(scheme, SCHEMES) if scheme else load("file", _FILES)
    return cast(Output, module.open_output(sink, options))


_FILES = {"file": Scheme("yolo_service.outputs.files")}
