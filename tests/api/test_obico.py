"""Obico's ml_api."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.fixtures import Client, Find, StartServer, start_process

LOOPBACK = "127.0.0.0/8"


def test_an_image_is_answered_as_ml_api_does(
    client: Client, photo: bytes, photos: str, find: Find
) -> None:
    answer = client.get(f"/p/?img={quote(f'{photos}/snapshot.jpg?a=1&b=2', safe='')}")
    assert answer.status == 200
    expected = find(photo, 0.08)
    assert len(expected) > len(find(photo, 0.25))
    found = answer.json.pop("detections")
    assert [label for label, _, _ in found] == expected.labels
    for (_, confidence, box), score, own in zip(
        found, expected.scores, expected.boxes, strict=True
    ):
        assert confidence == pytest.approx(score, abs=1e-4)
        assert box == pytest.approx(own, abs=0.1)


def test_the_threshold_of_model_yaml_counts(start_server: StartServer, photos: str) -> None:
    client = start_server(model="b-shy", url_allow_networks=LOOPBACK).client()  # its is 1
    assert client.get(f"/p/?img={photos}/").json == {"detections": []}
    client.close()


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 422, "img: missing"),
        ("?img=", 422, "img: expected an http or https URL"),
        ("?img={photos}/missing", 400, "404"),
        ("?img=http://127.0.0.1:1/", 400, "127.0.0.1"),
        ("?img=file:///etc/passwd", 400, "http"),
        ("?state=b", 422, "img: missing"),
        ("?img=http://127.0.0.1:1/?a&img=b", 400, "img: expected one value, found 2"),
    ],
)
def test_errors_are_in_ml_apis_format(
    client: Client, photos: str, query: str, status: int, words: str
) -> None:
    answer = client.get(f"/p/{query.format(photos=photos)}")
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["detections"] == []
    assert words in answer.json["message"]


@pytest.mark.parametrize(
    ("query", "fetched"),
    [
        ("img={}/snap?a=b&state=c", "/snap?a=b&state=c"),
        ("img={}/snap?a=b&&flag&d=%26&e=f+g", "/snap?a=b&&flag&d=&&e=f%20g"),
        ("show=1&img={}/snap?a=b&state=c", "/snap?a=b&state=c"),
        ("img={}/snap?a=b%26state=c", "/snap?a=b&state=c"),
        ("img={}/snap&state=c", "/snap"),
        ("img={quoted}%2Fsnap%3Fa%3Db%26state%3Dc&_=1", "/snap?a=b&state=c"),
        ("_=1&img={quoted}%2Fsnap", "/snap"),
    ],
)
def test_what_belongs_to_an_address_that_is_not_quoted_is_put_back(
    client: Client, photos: str, requested: list[str], query: str, fetched: str
) -> None:
    """Of a quoted address, other parameters are the client's own, and ignored as ml_api does."""
    answer = client.get("/p/?" + query.format(photos, quoted=quote(photos, safe="")))
    assert (answer.status, requested) == (200, [fetched]), answer.body


def test_a_wrong_token_is_told_where_it_is_set(start_server: StartServer) -> None:
    client = start_server({"ML_API_TOKEN": "sesame"}).client()
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = client.get("/p/?img=http://a/", **headers)
        assert answer.status == 401
        assert "ML_API_TOKEN" in answer.json["message"]
        assert "sesame" not in answer.json["message"]
    client.close()


def test_only_obicos_route_needs_the_token_of_ml_api(
    start_server: StartServer, photos: str
) -> None:
    client = start_server({"ML_API_TOKEN": "sesame"}, url_allow_networks=LOOPBACK).client()
    path = f"/p/?img={photos}/"
    refused = client.get(path)
    assert refused.status == 401
    assert refused.json["detections"] == []
    assert client.get(path, Authorization="Bearer wrong").status == 401
    assert client.get(path, **{"X-API-Key": "sesame"}).status == 401
    assert client.get(path, Authorization="Bearer sesame").status == 200
    assert client.get("/models").status == 200
    assert client.get("/hc/").status == 200
    client.close()


def test_the_api_key_opens_the_route_and_the_token_nothing_else(
    start_server: StartServer, photos: str
) -> None:
    server = start_server({"ML_API_TOKEN": "token"}, api_key="key", url_allow_networks=LOOPBACK)
    client = server.client()
    path = f"/p/?img={photos}/"
    assert client.get(path, Authorization="Bearer token").status == 200
    assert client.get(path, Authorization="Bearer key").status == 200
    assert client.get(path, **{"X-API-Key": "key"}).status == 200
    assert client.get("/models", Authorization="Bearer token").status == 401
    assert client.get("/models", Authorization="Bearer key").status == 200
    client.close()


def test_the_health_check_says_ok_in_plain_text(client: Client) -> None:
    answer = client.get("/hc/")
    assert answer.status == 200
    assert answer.body == b"ok"
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_health_checks_fail_until_the_model_is_loaded(models: Path, faults: Path) -> None:
    (faults / "hang").touch()
    process = start_process(
        {"YOLO_MODELS_DIR": str(models), "FAULTS": str(faults)}, "-m", "tests.support.faulty"
    )
    process.port = int(process.wait_for(r"listening on http://[\d.]+:(\d+)").group(1))
    client = process.client()
    paths = ("/hc/", "/ping", "/ping/", "/v2/health/ready")
    assert [client.get(path).status for path in paths] == [503] * 4
    assert client.get("/hc/").body == b"error"
    (faults / "hang").unlink()
    process.wait_for("serving ")
    assert [client.get(path).status for path in paths] == [200] * 4
    client.close()
    assert process.stop() == 0
