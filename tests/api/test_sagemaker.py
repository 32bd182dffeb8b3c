"""SageMaker's container contract, as ilytics speaks it."""

from __future__ import annotations

import base64
import io
import json
import textwrap
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.support.answers import problem
from tests.support.fixtures import Answer, Client, Find, StartServer
from tests.support.sample_images import jpeg
from yolo_service.images.decode import decode
from yolo_service.images.draw import draw, encode

JSON = {"Content-Type": "application/json"}


def invoke(client: Client, body: bytes, kind: str) -> Answer:
    return client.request("POST", "/invocations", body, {"Content-Type": kind})


def document(image: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(image).decode(), "filename": "a.jpg"}).encode()


@pytest.mark.parametrize("path", ["/ping", "/ping/"])
def test_ping_is_answered_with_and_without_slash(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status, answer.json) == (200, {"data": "pong!"})


def test_every_form_of_a_request_gets_the_same_answer(
    client: Client, photo: bytes, find: Find
) -> None:
    found = find(photo, 0.25)
    assert len(found)
    as_json = invoke(client, document(photo), "application/json")
    assert as_json.status == 200
    stat = Counter(found.labels)
    assert as_json.json["stat"] == {"cat": stat["cat"], "dog": stat["dog"]}
    drawn = base64.b64decode(as_json.json["img"], validate=True)
    expected = encode(draw(decode(photo, max_pixels=10**6), found), "jpeg")
    drawn_image = np.asarray(Image.open(io.BytesIO(drawn)))
    assert drawn_image.shape == (64, 96, 3)
    np.testing.assert_array_equal(drawn_image, np.asarray(Image.open(io.BytesIO(expected))))
    for kind in ("image/jpeg", "application/x-image", "application/octet-stream"):
        assert invoke(client, photo, kind).json == as_json.json
    form = client.post([("image", photo), ("filename", "a.jpg")], "/invocations")
    assert form.json == as_json.json


def test_every_class_is_counted_even_if_there_is_none(client: Client) -> None:
    stat = invoke(client, jpeg(), "image/jpeg").json["stat"]
    assert set(stat) == {"cat", "dog"}


def test_base64_may_be_broken_into_lines(client: Client, photo: bytes) -> None:
    lines = "\n".join(textwrap.wrap(base64.b64encode(photo).decode(), 76))
    body = json.dumps({"image": lines}).encode()
    assert invoke(client, body, "application/json").status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON object"),
        (b"{", "no JSON object"),
        (b"[]", "the body: Input should be"),
        (b"{}", "image: Field required"),
        (b'{"image": 7}', "image: Input should be a valid string"),
        (b'{"image": "!!!!"}', "image: expected an image in base64"),
        (b'{"image": "\xff"}', "no JSON object"),
        (b'{"image": NaN}', "NaN is not a number of JSON"),
        (b"[" * 100_000, "no JSON object"),
        (b"[" * 2_000_001, "more than 2000000 values"),
        (b'{"image": [' + b"0," * 2_000_001 + b"]}", "more than 2000000 values"),
        (b'{"image": ' + b"9" * 5000 + b"}", "no JSON object"),
    ],
)
def test_a_bad_document_is_refused_in_words(client: Client, body: bytes, words: str) -> None:
    problem(invoke(client, body, "application/json"), 400, words)


def test_a_bad_image_is_refused_in_words(client: Client, photo: bytes) -> None:
    problem(invoke(client, document(b"text"), "application/json"), 415, "JPEG")
    problem(invoke(client, document(photo[:500]), "application/json"), 422, "")
    problem(invoke(client, b"", "image/jpeg"), 422, "the file is empty")
    problem(client.post([("filename", "a")], "/invocations"), 400, "image: missing")
    problem(invoke(client, photo, "text/plain"), 415, "found text/plain")


def test_invocations_need_the_key_and_ping_does_not(
    start_server: StartServer, photo: bytes
) -> None:
    client = start_server(api_key="sesame").client()
    assert client.get("/ping").status == 200
    problem(invoke(client, photo, "image/jpeg"), 401, "X-API-Key")
    headers = {"Content-Type": "image/jpeg", "X-API-Key": "sesame"}
    assert client.request("POST", "/invocations", photo, headers).status == 200
    client.close()
