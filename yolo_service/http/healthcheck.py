"""The container's health check: ``python -m yolo_service.http.healthcheck``.

It imports only the standard library, so that a probe takes a few hundredths of a second.
"""

from __future__ import annotations

import http.client
import os
import sys
from ipaddress import ip_address

TIMEOUT = 4.0
"""Seconds to connect, and seconds without a byte of the response."""


def is_ready(host: str, port: int) -> bool:
    """Return whether ``/readyz`` of the service that listens on this address answers 200."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable(host: str) -> str:
    """Return the address to connect to for a service that listens on ``host``.

    The wildcard addresses ``0.0.0.0`` and ``::`` become the loopback of their family.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def main() -> int:
    """Return 0 if the service is ready, else 1: the exit codes of a Docker HEALTHCHECK."""
    host = os.environ.get("YOLO_HOST") or "127.0.0.1"
    port = os.environ.get("YOLO_PORT") or os.environ.get("PORT") or "8080"
    return 0 if is_ready(host, int(port)) else 1


if __name__ == "__main__":
    sys.exit(main())
