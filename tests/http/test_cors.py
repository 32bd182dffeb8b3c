"""Pages of other origins: which of them may read answers, and how they ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.support.fixtures import Answer, Client, StartServer

PAGE = {"Origin": "https://page.example"}
OTHER = {"Origin": "https://other.example"}
ASKS = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-api-key",
}


@pytest.fixture
def listed(start_server: StartServer) -> Iterator[Client]:
    server = start_server(cors_origins="https://page.example,http://b:1", api_key="sesame")
    client = server.client()
    yield client
    client.close()


def allowed(answer: Answer) -> str | None:
    assert "Access-Control-Allow-Credentials" not in answer.headers
    return answer.headers.get("Access-Control-Allow-Origin")


def ask(client: Client, path: str, origin: Mapping[str, str]) -> Answer:
    return client.request("OPTIONS", path, headers={**origin, **ASKS})


def test_no_page_of_another_origin_may_read_by_default(client: Client) -> None:
    assert allowed(client.get("/healthz", **PAGE)) is None
    assert allowed(ask(client, "/detect", PAGE)) is None
    assert "Vary" not in client.get("/healthz").headers


def test_pages_of_the_listed_origins_may_read_answers_and_errors(
    listed: Client, photo: bytes
) -> None:
    key = {"X-API-Key": "sesame"}
    good = listed.post([("image_file", photo)], **PAGE, **key)
    assert (good.status, allowed(good)) == (200, PAGE["Origin"])
    assert "X-Request-ID" in good.headers["Access-Control-Expose-Headers"]
    for status, answer in {
        401: listed.post([("image", photo)], "/v1/vision/detection", **PAGE),
        404: listed.get("/nope", **PAGE),
        405: listed.request("DELETE", "/detect", headers=PAGE),
        415: listed.post([("image_file", b"text")], **PAGE, **key),
    }.items():
        assert (answer.status, allowed(answer)) == (status, PAGE["Origin"])
        assert answer.headers["Vary"] == "Origin"


def test_pages_of_other_origins_are_not_allowed(listed: Client) -> None:
    for headers in ({}, OTHER, {"Origin": "https://page.example.evil"}, {"Origin": "null"}):
        answer = listed.get("/healthz", **headers)
        assert (answer.status, allowed(answer)) == (200, None)
        assert answer.headers["Vary"] == "Origin"
    assert allowed(ask(listed, "/detect", OTHER)) is None


@pytest.mark.parametrize("path", ["/detect", "/v1/vision/detection", "/v2/models/a-tiny/infer"])
def test_a_preflight_request_is_answered_without_the_key(listed: Client, path: str) -> None:
    answer = ask(listed, path, PAGE)
    assert (answer.status, allowed(answer), answer.body) == (204, PAGE["Origin"], b"")
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type,x-api-key"
    assert listed.get("/healthz").status == 200  # over the same connection


def test_a_star_allows_every_origin(start_server: StartServer, photo: bytes) -> None:
    client = start_server(cors_origins="*").client()
    for origin in (PAGE, OTHER, {"Origin": "null"}):
        assert allowed(client.post([("image", photo)], "/v1/vision/detection", **origin)) == "*"
        assert allowed(ask(client, "/v1/vision/detection", origin)) == "*"
    assert allowed(client.get("/healthz")) is None
    client.close()
