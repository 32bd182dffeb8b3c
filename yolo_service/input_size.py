"""Sizes of a network's input as settings, options and model.yaml have them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from darknet.cfg import InputSize

_TEXT = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?", re.ASCII)

_Side = Annotated[int, Field(ge=1, le=65535)]


def parse_input_size(value: object) -> object:
    """Return (width, height) of ``416`` or ``640x480``; other types as they are.

    Raises:
        ValueError: it is a text or a number, but not such a one.
    """
    if not isinstance(value, str | int) or isinstance(value, bool):
        return value
    found = _TEXT.fullmatch(str(value).strip())
    if found is None:
        raise ValueError("expected 416 or 640x480 (width x height)")
    size: InputSize = int(found[1]), int(found[2] or found[1])
    return size


InputSizeOption = Annotated[tuple[_Side, _Side], BeforeValidator(parse_input_size)]
"""A field of pydantic: ``416``, ``640x480`` or a list of both numbers."""
