"""The model that a request names, so that Ray Serve sends it to a replica that has it in memory.

This is for the choice of a replica only: the application reads the name by itself, and a replica
without the model loads it.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_PATH = re.compile(r"/v2/models/([^/]+)/|/v1/vision/custom/([^/]+)")
_FIELD = b'name="model"'
_FIELD_END_BYTES = 200


def named_model(path: str, query: bytes, body: bytes) -> str:
    """Return the name of a request's model; empty: it names none, or none that there can be.

    Args:
        path: decoded.
        query: as it was sent.
        body: a form of several parts is searched for the field ``model``.
    """
    name = _in_path(path) or _in_query(query) or _in_form(body)
    return name if _NAME.fullmatch(name) else ""


def _in_path(path: str) -> str:
    match = _PATH.match(path)
    return (match[1] or match[2]) if match else ""


def _in_query(query: bytes) -> str:
    values = parse_qs(query.decode("latin-1")) if b"model=" in query else {}
    return values.get("model", [""])[0]


def _in_form(body: bytes) -> str:
    """Return the text of the field ``model``; clients write text before files, or behind them."""
    if (start := body.find(_FIELD)) < 0:
        return ""
    part = body[start + len(_FIELD) : start + _FIELD_END_BYTES]
    _, _, value = part.partition(b"\r\n\r\n")
    return value.partition(b"\r\n")[0].decode("latin-1")
