"""Compressed bodies: every route reads them, and none of them expands beyond its limits."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from tests.support.fixtures import BOUNDARY, Answer, Client, multipart
from yolo_service.errors import BadRequest, Overloaded
from yolo_service.http.content_coding import Decompressed, decoded
from yolo_service.http.streams import CHUNK_BYTES, Budget

FORM = f"multipart/form-data; boundary={BOUNDARY}"
Compress = Callable[[bytes], bytes]
CODINGS: dict[str, Compress] = {"gzip": gzip.compress, "X-GZip": gzip.compress}
CODINGS |= {"deflate": zlib.compress, "identity": bytes}


def bodies(photo: bytes) -> dict[str, tuple[str, bytes]]:
    """Return a body with its type for each route that takes one."""
    text = base64.b64encode(photo).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    infer = json.dumps({"inputs": [tensor], "parameters": {"threshold": 0.01}}).encode()
    return {
        "/detect": (FORM, multipart([("image_file", photo), ("threshold", "0.01")])),
        "/annotate": (FORM, multipart([("image_file", photo)])),
        "/v1/vision/detection": (FORM, multipart([("image", photo)])),
        "/v1/vision/custom/a-tiny": (FORM, multipart([("image", photo)])),
        "/v1/vision/custom/list": (FORM, multipart([("api_key", "")])),
        "/invocations": ("application/json", json.dumps({"image": text}).encode()),
        "/v2/models/a-tiny/infer": ("application/json", infer),
        "/v2/models/a-tiny/versions/1/infer": ("application/json", infer),
        "/v2/repository/index": ("application/json", b'{"ready": true}'),
    }


def post(client: Client, path: str, kind: str, body: bytes, coding: str) -> Answer:
    headers = {"Content-Type": kind, "Content-Encoding": coding}
    return client.request("POST", path, body, headers)


def timeless(answer: Answer) -> object:
    """Return what an answer says but for its times."""
    if not answer.headers["Content-Type"].startswith("application/json"):
        return answer.body
    document = answer.json
    if isinstance(document, dict):
        return {
            name: value
            for name, value in document.items()
            if not name.endswith(("Ms", "UTC")) and name not in {"duration", "analysisRoundTripMs"}
        }
    return document


@pytest.mark.parametrize("coding", CODINGS)
def test_every_route_reads_a_compressed_body(client: Client, photo: bytes, coding: str) -> None:
    for path, (kind, body) in bodies(photo).items():
        plain = client.request("POST", path, body, {"Content-Type": kind})
        answer = post(client, path, kind, CODINGS[coding](body), coding)
        assert (plain.status, answer.status) == (200, 200), (path, answer.body)
        assert timeless(answer) == timeless(plain), path


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "x" * 500])
def test_another_coding_is_refused_by_its_name(client: Client, photo: bytes, coding: str) -> None:
    for path, (kind, body) in bodies(photo).items():
        answer = post(client, path, kind, body, coding)
        assert answer.status == 415, (path, answer.body)
        assert f"'{coding[:100]}' is not taken; send gzip".encode() in answer.body
        assert len(answer.body) < 500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], "cut off"),
        (lambda data: data[:1], "cut off"),
        (lambda data: data + b"x", "bytes follow"),
        (lambda data: data + data, "bytes follow"),
        (lambda data: data[:-8] + b"12345678", "not compressed as"),
        (lambda _: b"text", "not compressed as"),
        (lambda _: b"\x1f\x8b\x08" + b"\xff" * 500, "not compressed as"),
    ],
)
def test_a_broken_body_is_answered_400_that_says_how(
    client: Client, photo: bytes, change: Compress, words: str
) -> None:
    for path, (kind, body) in bodies(photo).items():
        answer = post(client, path, kind, change(gzip.compress(body)), "gzip")
        assert answer.status == 400, (path, answer.body)
        assert words.encode() in answer.body


def test_a_compressed_body_may_come_in_chunks(client: Client, photo: bytes) -> None:
    kind, body = bodies(photo)["/detect"]
    packed = gzip.compress(body)
    chunks: Any = iter([packed[:10], packed[10:1000], packed[1000:]])
    answer = post(client, "/detect", kind, chunks, "gzip")
    assert answer.status == 200, answer.body
    assert answer.json == client.request("POST", "/detect", body, {"Content-Type": kind}).json


def test_an_empty_body_needs_no_compression(client: Client) -> None:
    answer = post(client, "/v2/repository/index", "", b"", "gzip")
    assert answer.status == 200, answer.body


def test_what_expands_beyond_the_largest_body_is_answered_413(client: Client) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    assert len(bomb) < 100_000
    for path, (kind, _) in bodies(b"x").items():
        answer = post(client, path, kind, bomb, "gzip")
        assert answer.status == 413, (path, answer.body)
    form = multipart([("image_file", bytes(100_000_000))])
    assert post(client, "/detect", FORM, gzip.compress(form), "gzip").status == 413


def test_no_more_is_decompressed_than_is_asked_for_or_allowed() -> None:
    held: list[int] = []
    raw = io.BytesIO(gzip.compress(bytes(50_000_000)))
    body = decoded(raw, "gzip", 1_000_000, held.append)
    assert isinstance(body, Decompressed)
    assert body.read(0) == b""
    assert body.read(1000) == bytes(1000)
    assert held == [1000]
    with pytest.raises(RequestEntityTooLarge):
        body.read()
    assert max(held) <= CHUNK_BYTES
    assert sum(held) <= 1_000_000


def test_the_content_counts_for_the_memory_of_all_requests() -> None:
    budget = Budget(1_000_000)
    body = decoded(io.BytesIO(gzip.compress(bytes(3_000_000))), "gzip", None, budget.take)
    with pytest.raises(Overloaded):
        body.read()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_content_is_the_same_whatever_the_size_of_the_reads(size: int) -> None:
    content = bytes(range(256)) * 40
    body = decoded(io.BytesIO(zlib.compress(content)), "deflate", None, lambda _: None)
    assert b"".join(iter(lambda: body.read(size), b"")) == content
    raw_deflate = zlib.compress(content)[2:-4]
    with pytest.raises(BadRequest, match="not compressed as"):
        decoded(io.BytesIO(raw_deflate), "deflate", None, lambda _: None).read()
