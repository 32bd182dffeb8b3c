"""Checks of the API key, which connexion calls for the security schemes of swagger.yaml."""

from __future__ import annotations

import hmac

import flask
from pydantic import SecretStr

from yolo_service.api import service
from yolo_service.errors import Unauthorized

Client = dict[str, str]


def check_key(key: str) -> Client | None:
    """Return the client, or None if the key is wrong; takes the same time for any key."""
    return _client(key, service.current().settings.api_key)


def check_obico_token(token: str) -> Client | None:
    """Return the client, or None if the token is neither ``ML_API_TOKEN`` nor the API key."""
    own, general = check_key(token), _client(token, service.current().settings.ml_api_token)
    return own or general


def require(form_key: str | None) -> None:
    """Check the API key of a request that may have it in its form or in its headers.

    Raises:
        Unauthorized: it is missing or wrong.
    """
    request = flask.request
    token = request.authorization.token if request.authorization else None
    sent = (form_key, request.headers.get("X-API-Key"), token)
    if service.current().settings.api_key and not any(check_key(key) for key in sent if key):
        raise Unauthorized("send the API key in the field api_key or the header X-API-Key")


def _client(sent: str, expected: SecretStr | None) -> Client | None:
    if expected is None:
        return None
    right = hmac.compare_digest(sent.encode(), expected.get_secret_value().encode())
    return {"sub": "client"} if right else None
