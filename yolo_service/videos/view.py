"""How frames become images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """How frames become images.

    Attributes:
        rotate: degrees clockwise, after the rotation that the container says: 0, 90, 180 or 270.
        size: longest side in pixels of larger frames; None: as they are.
    """

    rotate: int = 0
    size: int | None = None
