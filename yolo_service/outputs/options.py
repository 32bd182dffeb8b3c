"""What the command line says about outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event


@dataclass(frozen=True)
class OutputOptions:
    """Options of an output.

    Attributes:
        format: a name of ``formats.FORMATS``; None: the output's own default.
        draw: whether it takes annotated images, or videos, instead of results.
        resume: whether results of an earlier run are kept and added to.
        is_stopping: set when the run is to end: then a place that is gone is not waited for.
    """

    format: str | None = None
    draw: bool = False
    resume: bool = False
    is_stopping: Event = field(default_factory=Event)
