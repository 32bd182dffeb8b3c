"""A full queue: images are refused at once, in the format of the interface; the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.answers import metrics, problem, wait_for_metric
from tests.support.fixtures import Client, Part, ServerProcess, StartServer

KEY = "correct-horse-battery-staple"


@pytest.fixture
def full(faulty: StartServer, faults: Path, photo: bytes) -> Iterator[ServerProcess]:
    """A service whose only worker hangs, and whose only place in the queue is taken."""
    server = faulty(
        workers="1", queue_size="1", request_timeout="120", api_key=KEY, cors_origins="*"
    )
    parts: list[Part] = [("image_file", photo)]
    clients = [server.client(), server.client()]
    (faults / "hang").touch()
    with ThreadPoolExecutor(2) as threads:
        waiting = []
        for count, client in enumerate(clients):
            waiting.append(threads.submit(client.post, parts, **{"X-API-Key": KEY}))
            name = "yolo_workers_busy" if count == 0 else "yolo_queue_depth"
            wait_for_metric(server, name, 1, KEY)
        yield server
        (faults / "hang").unlink()
        assert [each.result().status for each in waiting] == [200, 200]
    for client in clients:
        client.close()


@pytest.fixture
def client(full: ServerProcess) -> Iterator[Client]:
    client = full.client()
    yield client
    client.close()


def test_uploads_and_addresses_of_images_are_refused_with_a_problem(
    client: Client, photo: bytes
) -> None:
    for answer in (
        client.post([("image_file", photo)], **{"X-Request-ID": "mine"}),
        client.get("/detect?url=http://127.0.0.1/", **{"X-Request-ID": "mine"}),
        client.get("/annotate?url=http://127.0.0.1/", **{"X-Request-ID": "mine"}),
    ):
        problem(answer, 503, "1 images are waiting already; try again soon")
        assert answer.json["type"] == "overloaded"
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["X-Request-ID"] == "mine"


def test_pages_of_other_origins_may_read_why_they_are_refused(client: Client, photo: bytes) -> None:
    page = {"Origin": "https://page.example"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    assert client.request("OPTIONS", "/detect", headers=page | asks).status == 204
    refused = client.post([("image_file", photo)], **page)
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (503, "*")


def test_other_interfaces_are_refused_in_their_own_format(client: Client) -> None:
    obico = client.get("/p/?img=http://127.0.0.1/")
    assert (obico.status, obico.json["detections"]) == (503, [])
    deepstack = client.request("POST", "/v1/vision/detection", b"", {})
    assert (deepstack.status, deepstack.json["success"]) == (503, False)
    kserve = client.request("POST", "/v2/models/a-tiny/infer", b"", {})
    assert (kserve.status, list(kserve.json)) == (503, ["error"])


def test_a_refused_upload_leaves_the_connection_in_use(client: Client, photo: bytes) -> None:
    for _ in range(3):
        answer = client.post([("image_file", photo)])
        assert answer.status == 503
        assert "Connection" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/models", 401),
        ("GET", "/ui/", 200),
        ("GET", "/detect", 401),
        ("HEAD", "/detect?url=http://127.0.0.1/", 405),
        ("DELETE", "/detect", 405),
        ("POST", "/healthz", 405),
        ("POST", "/nothing", 404),
        ("GET", "/nothing?url=http://127.0.0.1/", 404),
    ],
)
def test_requests_without_an_image_are_answered_while_the_queue_is_full(
    client: Client, method: str, path: str, status: int
) -> None:
    assert client.request(method, path, b"", {}).status == status


def test_refusals_are_counted_under_their_route(full: ServerProcess, client: Client) -> None:
    client.request("POST", "/v2/models/a-tiny/infer", b"", {})
    text = metrics(full, KEY)
    series = (
        'yolo_http_requests_total{method="POST",route="/v2/models/<model>/infer",status="503"} 1.0'
    )
    assert series in text, text
    assert 'yolo_errors_total{type="overloaded"} 1.0' in text
