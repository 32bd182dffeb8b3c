"""JSON bodies: requests with images in them, read on native threads because they are long."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn, TypeVar

from flask import Response
from pydantic import BaseModel, ValidationError

from yolo_service.errors import BadRequest

Document = TypeVar("Document", bound=BaseModel)

MAX_VALUES = 2_000_000
"""Most values of a document, roughly: Python's parser holds the GIL while it makes them (0.1 s for
so many), and each takes up to a hundred times its bytes in memory."""


def read_document(kind: type[Document], body: bytes) -> Document:
    """Read a JSON object in UTF-8 as an instance of ``kind``.

    Raises:
        BadRequest: it is not JSON, nested too deeply, too long, or not of this kind.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{", b'"')) > MAX_VALUES:
        raise BadRequest(
            f"the JSON has more than {MAX_VALUES} values; send an encoded image, or the tensor "
            "as bytes behind the JSON (Inference-Header-Content-Length)"
        )
    try:
        return kind.model_validate(json.loads(body, parse_constant=_refuse))
    except ValidationError as error:
        raise BadRequest("; ".join(map(_line, error.errors(include_url=False)))) from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON object: {error}") from error


def read_base64(name: str, text: str) -> bytes:
    """Decode base64, broken into lines or not.

    Raises:
        BadRequest: it is not base64; ``name`` is the member of the document.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise BadRequest(f"expected an image in base64: {error}", name=name) from error


def json_response(
    body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response with a JSON document."""
    return Response(body, status, headers, mimetype="application/json")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")


def _line(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'the body'}: {error['msg']}"
