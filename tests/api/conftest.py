"""The application in the test's own process: what a route answers needs no socket."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path

import flask
import pytest
from werkzeug.test import TestResponse

from tests.support.fixtures import BOUNDARY, Answer, Part, multipart
from tests.support.fixtures import Client as HttpClient
from yolo_service.api.client import CLIENT, Client
from yolo_service.api.service import Service
from yolo_service.http.app import create_app
from yolo_service.http.fetch import Fetcher
from yolo_service.predictor import open_predictor
from yolo_service.settings import load_settings

SERVED_AT = os.environ.get("YOLO_TEST_API_PORT")
"""The port of another server of the same models that the tests of routes ask; see tests/cluster."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of another server test what it answers only; its look-ups of names are not replaced."""
    if SERVED_AT:
        used = ((item, getattr(item, "fixturenames", ())) for item in items)
        items[:] = [item for item, names in used if "client" in names and "dns" not in names]


class Late(Client):
    """A client whose request is past its time."""

    deadline = 0.0


class LocalClient:
    """Calls the WSGI application; the methods are those of ``fixtures.Client``.

    Args:
        app: the application.
        connection: what handlers may ask about the client; None: nobody leaves, without a limit.
    """

    def __init__(self, app: flask.Flask, connection: object = None) -> None:
        self._client = app.test_client()
        self._environ = {CLIENT: connection}

    def request(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        response: TestResponse = self._client.open(
            path,
            method=method,
            data=data,
            headers=dict(headers or {}),
            environ_overrides=self._environ,
        )
        body = response.data
        response.close()
        return Answer(response.status_code, response.headers, body)  # type: ignore[arg-type]  # Headers read like a mapping

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, parts: list[Part], path: str = "/detect", **headers: str) -> Answer:
        """Send a form."""
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.request("POST", path, multipart(parts), kind | headers)


@pytest.fixture(scope="session")
def app(models: Path) -> Iterator[flask.Flask]:
    """The application that the tests of routes share."""
    settings = load_settings(models_dir=models, url_allow_networks=[ip_network("127.0.0.0/8")])
    predictor = open_predictor(settings)
    service = Service(settings, predictor, Fetcher(settings))
    service.start()
    yield create_app(service).app
    assert predictor.close(time.monotonic() + 10)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[LocalClient | HttpClient]:
    """A client of the shared application."""
    if SERVED_AT is None:
        yield LocalClient(request.getfixturevalue("app"))
        return
    connection = HttpClient(int(SERVED_AT))
    yield connection
    connection.close()


@pytest.fixture
def late_client(app: flask.Flask) -> LocalClient:
    """A client whose requests are past their time when they arrive."""
    return LocalClient(app, Late())
