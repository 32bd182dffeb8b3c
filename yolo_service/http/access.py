"""The id of a request, and the line of log that counts its answer."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yolo_service import logs, metrics

access = logging.getLogger(logs.ACCESS)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def request_id(given: str = "") -> str:
    """Return the id that a client has given its request, if it can be logged, else a new one."""
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


@dataclass(frozen=True)
class Answered:
    """An answered request.

    Attributes:
        client: address of the client.
        method: of HTTP.
        path: without the query, which may hold signed URLs.
        status: of HTTP; 0: nothing was sent.
        length: bytes of the response's body.
        seconds: from the request's headers to the end of the response.
        request_id: see ``request_id``.
    """

    client: str
    method: str
    path: str
    status: int
    length: int
    seconds: float
    request_id: str

    def log(self, environ: Mapping[str, Any]) -> None:
        """Count and log it; the WSGI environment has the route."""
        fields = {
            "client": self.client,
            "method": self.method,
            "path": self.path if self.path.isprintable() else ascii(self.path),
            "status": self.status,
            "bytes": self.length,
            "ms": round(self.seconds * 1000, 1),
            "request_id": self.request_id,
        }
        text = "{client} {method} {path} {status} {bytes} B {ms} ms {request_id}"
        access.info("%s", text.format_map(fields), extra={"fields": fields})
        metrics.count_request(self.method, environ, self.status, self.seconds)
