"""Answers as JSON."""

from __future__ import annotations

from typing import Any

import orjson


def to_json(value: Any) -> bytes:
    """Write plain values as one line of JSON in UTF-8; numbers that JSON lacks become null."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
