"""The container's health check: ``python -m yolo_service.http.healthcheck``.

Only the standard library is imported, so that a probe costs a few hundredths of a second.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT = 4.0
"""Seconds for an answer."""


def is_ready(port: int) -> bool:
    """Say whether /readyz on the loopback answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Return 0 if the service is ready, else 1, as HEALTHCHECK wants it."""
    port = os.environ.get("YOLO_PORT") or os.environ.get("PORT") or "8080"
    return 0 if is_ready(int(port)) else 1


if __name__ == "__main__":
    sys.exit(main())
