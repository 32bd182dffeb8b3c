"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "FAIL"]
"""``FAIL``: the service will not do what its settings ask for; ``warn``: it will, but badly."""


@dataclass(frozen=True)
class Finding:
    """A line of the diagnosis.

    Attributes:
        name: what was looked at.
        status: how it is.
        message: what was found.
        advice: what to do about it; empty if there is nothing to do.
    """

    name: str
    status: Status
    message: str
    advice: str = ""
