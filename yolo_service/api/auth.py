"""The API key; connexion calls these for the security schemes of swagger.yaml."""

from __future__ import annotations

import hmac

from yolo_service import service


def check_key(key: str) -> dict[str, str] | None:
    """Return who the client is, or None if the key is wrong; in the same time for any key."""
    expected = service.current().settings.api_key
    if expected is None:
        return None
    right = hmac.compare_digest(key.encode(), expected.get_secret_value().encode())
    return {"sub": "client"} if right else None
