"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "FAIL"]
"""``FAIL``: the service will not work as set; ``warn``: it will, but slowly or insecurely."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked.
        status: ``ok``, ``warn`` or ``FAIL``.
        message: what was found.
        advice: what to do about it; empty if there is nothing to do.
    """

    name: str
    status: Status
    message: str
    advice: str = ""
