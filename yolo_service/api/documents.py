"""JSON bodies that carry images; read on a native thread, because they are long."""

from __future__ import annotations

import base64
import json
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from yolo_service.errors import BadRequest

Document = TypeVar("Document", bound=BaseModel)

MAX_VALUES = 2_000_000
"""Most values of a document, roughly: Python's parser lets nothing else run while it makes them
(0.1 s for so many), and each takes up to a hundred times its bytes in memory."""


def read_document(kind: type[Document], body: bytes) -> Document:
    """Read a JSON object.

    Args:
        kind: what it has to hold.
        body: UTF-8.

    Raises:
        BadRequest: it is no JSON, nested too deeply, too long, or not of this kind.
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
        BadRequest: it is none; ``name`` says where.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise BadRequest(f"expected an image in base64: {error}", name=name) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")


def _line(error: object) -> str:
    where = ".".join(map(str, error["loc"])) or "the body"  # type: ignore[index]  # pydantic's ErrorDetails
    return f"{where}: {error['msg']}"  # type: ignore[index]  # likewise
