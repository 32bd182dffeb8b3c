"""The Open Inference Protocol, version 2."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # has no types

from darknet.detections import Detections
from tests.support.contract import schema
from tests.support.fixtures import Answer, Client, Find, StartServer
from tests.support.sample_images import jpeg
from yolo_service.images.decode import decode

INFER = "/v2/models/a-tiny/infer"
LOW = {"threshold": 0.01}


def post(client: Client, document: object, raw: bytes | None = None) -> Answer:
    """Send a document, and with the binary extension the bytes that follow it."""
    head = json.dumps(document).encode()
    if raw is None:
        return client.request("POST", INFER, head, {"Content-Type": "application/json"})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return client.request("POST", INFER, head + raw, headers)


def request(
    name: str, datatype: str, shape: list[int], data: object = None, **more: object
) -> dict[str, Any]:
    tensor: dict[str, object] = {"name": name, "datatype": datatype, "shape": shape}
    if isinstance(data, int):
        tensor["parameters"] = {"binary_data_size": data}
    elif data is not None:
        tensor["data"] = data
    return {"inputs": [tensor], "parameters": LOW, **more}


def outputs(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    Draft4Validator(schema("/v2/models/{model}/infer", "post", "200")).validate(answer.json)
    tensors = answer.json["outputs"]
    for tensor in tensors:
        assert len(tensor["data"]) == np.prod(tensor["shape"])
    return {tensor["name"]: np.reshape(tensor["data"], tensor["shape"]) for tensor in tensors}


def check(answer: Answer, *expected: Detections) -> None:
    """Compare an answer with what the library finds in each image."""
    found = outputs(answer)
    assert found["labels"].tolist() == [label for one in expected for label in one.labels]
    ids = [i for i, one in enumerate(expected) for _ in range(len(one))]
    assert found["image_ids"].tolist() == ids
    for name in ("boxes", "scores", "class_ids"):
        wanted = np.concatenate([getattr(one, name) for one in expected])
        np.testing.assert_allclose(found[name], wanted, atol=0.1 if name == "boxes" else 1e-4)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_encoded_images_are_taken_as_base64(client: Client, photo: bytes, find: Find) -> None:
    other = jpeg(200, 90)
    answer = post(client, request("image", "BYTES", [2], [b64(photo), b64(other)], id="42"))
    check(answer, find(photo, 0.01), find(other, 0.01))
    assert (answer.json["id"], answer.json["model_name"]) == ("42", "a-tiny")


def test_encoded_images_are_taken_as_bytes(client: Client, photo: bytes, find: Find) -> None:
    other = jpeg(200, 90)
    raw = b"".join(struct.pack("<I", len(data)) + data for data in (other, photo))
    answer = post(client, request("image", "BYTES", [2], len(raw)), raw)
    check(answer, find(other, 0.01), find(photo, 0.01))


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_pixels_are_taken_as_numbers(
    client: Client, photo: bytes, find: Find, nested: bool, kind: type
) -> None:
    pixels: Any = decode(photo, max_pixels=10**6)[None].astype(kind)
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    answer = post(client, request("image_uint8", "UINT8", [1, 64, 96, 3], data))
    check(answer, find(photo, 0.01))


def test_pixels_are_taken_as_bytes(client: Client, photo: bytes, find: Find) -> None:
    pixels = decode(photo, max_pixels=10**6)
    raw = np.stack([pixels, pixels[:, ::-1]]).tobytes()
    answer = post(client, request("image_uint8", "UINT8", [2, 64, 96, 3], len(raw)), raw)
    ids = outputs(answer)["image_ids"]
    expected = find(photo, 0.01)
    assert set(ids.tolist()) == {0, 1}
    np.testing.assert_allclose(outputs(answer)["boxes"][ids == 0], expected.boxes, atol=0.1)


@pytest.mark.parametrize("binary", [True, False])
def test_floats_are_taken_from_0_to_1(
    client: Client, photo: bytes, find: Find, binary: bool
) -> None:
    pixels = decode(photo, max_pixels=10**6)[None].astype("<f4") / 255
    raw = pixels.tobytes() if binary else None
    data = len(pixels.tobytes()) if binary else pixels.ravel().tolist()
    answer = post(client, request("image_fp32", "FP32", [1, 64, 96, 3], data), raw)
    check(answer, find(photo, 0.01))


def test_outputs_can_be_chosen(client: Client, photo: bytes) -> None:
    wanted = [{"name": "labels"}, {"name": "scores"}]
    answer = post(client, request("image", "BYTES", [1], [b64(photo)], outputs=wanted))
    assert set(outputs(answer)) == {"labels", "scores"}


def split(answer: Answer) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Take an answer with binary tensors apart: its outputs, and the bytes of each."""
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers["Inference-Header-Content-Length"])
    document, raw = json.loads(answer.body[:length]), answer.body[length:]
    Draft4Validator(schema("/v2/models/{model}/infer", "post", "200")).validate(document)
    tensors = {tensor["name"]: tensor for tensor in document["outputs"]}
    pieces = {}
    for name, tensor in tensors.items():
        size = tensor.get("parameters", {"binary_data_size": 0})["binary_data_size"]
        pieces[name], raw = raw[:size], raw[size:]
    assert not raw
    return tensors, pieces


def test_outputs_come_as_bytes_if_they_are_asked_for(client: Client, photo: bytes) -> None:
    plain = request("image", "BYTES", [1], [b64(photo)])
    expected = outputs(post(client, plain))
    wanted = plain | {"parameters": {**LOW, "binary_data_output": True}}
    tensors, raw = split(post(client, wanted))
    for name, kind in {"boxes": "<f4", "scores": "<f4", "class_ids": "<i4"}.items():
        assert "data" not in tensors[name]
        values = np.frombuffer(raw[name], kind).reshape(tensors[name]["shape"])
        np.testing.assert_allclose(values, expected[name], rtol=1e-6)
    labels = b"".join(struct.pack("<I", len(x)) + x.encode() for x in expected["labels"])
    assert raw["labels"] == labels


@pytest.mark.parametrize("all_others", [True, False])
def test_an_output_may_be_binary_or_not_by_itself(
    client: Client, photo: bytes, all_others: bool
) -> None:
    one = {"name": "labels", "parameters": {"binary_data": not all_others}}
    wanted = request("image", "BYTES", [1], [b64(photo)], outputs=[one, {"name": "scores"}])
    wanted["parameters"] = {**LOW, "binary_data_output": all_others}
    tensors, raw = split(post(client, wanted))
    assert ("data" in tensors["labels"], "data" in tensors["scores"]) == (
        all_others,
        not all_others,
    )
    assert (bool(raw["labels"]), bool(raw["scores"])) == (not all_others, all_others)


def test_nothing_found_gives_empty_tensors(client: Client, photo: bytes) -> None:
    document = request("image", "BYTES", [1], [b64(photo)]) | {"parameters": {"threshold": 1}}
    found = outputs(post(client, document))
    assert found["boxes"].shape == (0, 4)
    document["parameters"] = {"threshold": 1, "binary_data_output": True}
    answer = post(client, document)
    assert answer.json["outputs"][0]["parameters"] == {"binary_data_size": 0}


PIXELS = {"name": "image_uint8", "datatype": "UINT8", "shape": [1, 1, 2, 3]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "the body: Input should be"),
        ({}, "inputs: Field required"),
        ({"inputs": []}, "inputs: List should have at least 1 item"),
        ({"inputs": [PIXELS, PIXELS]}, "inputs: List should have at most 1 item"),
        ({"inputs": [{**PIXELS, "name": "x"}]}, "expected one of image (BYTES)"),
        ({"inputs": [{**PIXELS, "datatype": "INT8"}]}, "found image_uint8 (INT8)"),
        ({"inputs": [{**PIXELS, "shape": [1, 2, 3]}]}, "expected shape [-1, -1, -1, 3]"),
        ({"inputs": [{**PIXELS, "shape": []}]}, "expected shape"),
        ({"inputs": [{**PIXELS, "shape": [1, 2, 1, 4]}]}, "expected shape"),
        ({"inputs": [{**PIXELS, "shape": [1, -2, -1, 3]}]}, "expected shape"),
        ({"inputs": [{**PIXELS, "shape": [33, 1, 1, 3]}]}, "at most 32 images"),
        ({"inputs": [PIXELS]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": [1, 2, 3]}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": [[1, 2], [3]]}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": [0, 0, 0, 0, 0, 256]}]}, "whole numbers from 0 to 255"),
        ({"inputs": [{**PIXELS, "data": [0, 0, 0, 0, 0, 0.5]}]}, "whole numbers from 0 to 255"),
        ({"inputs": [{**PIXELS, "data": ["a"] * 6}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": ["a" * 10**6] + ["b"] * 5}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": [[1, 2, 3], "456"]}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": [True] * 6}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": {"a": 1}}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": [None] * 6}]}, "expected 6 numbers"),
        ({"inputs": [{**PIXELS, "data": [10**30] * 6}]}, "whole numbers from 0 to 255"),
        (request("image_fp32", "FP32", [1, 1, 1, 3], [0, 0, 2]), "numbers from 0 to 1"),
        (request("image", "BYTES", [2], ["YQ=="]), "expected data of 2 images"),
        (request("image", "BYTES", [1], ["?"]), "image: expected an image in base64"),
        (request("image", "BYTES", [1], [7]), "image: expected an image in base64"),
        (request("image", "BYTES", [1], ["YQ=="], outputs=[{"name": "x"}]), "unknown 'x'"),
        (
            request("image", "BYTES", [1], ["YQ=="]) | {"parameters": {"threshold": 2}},
            "parameters.threshold: Input should be less",
        ),
    ],
)
def test_a_bad_request_is_refused_in_words(client: Client, document: object, words: str) -> None:
    answer = post(client, document)
    assert answer.status == 400, answer.body
    assert set(answer.json) == {"error"}
    assert words in answer.json["error"]


@pytest.mark.parametrize(
    ("raw", "size", "words"),
    [
        (b"123", 4, "binary_data_size"),
        (b"", 1, "binary_data_size"),
        (b"\x09\0\0\0abc", 7, "longer than the bytes"),
        (b"\0\0", 2, "longer than the bytes"),
    ],
)
def test_bad_binary_data_is_refused_in_words(
    client: Client, raw: bytes, size: int, words: str
) -> None:
    answer = post(client, request("image", "BYTES", [1], size), raw)
    assert answer.status == 400, answer.body
    assert words in answer.json["error"]


@pytest.mark.parametrize("length", ["-1", "x", "", "9" * 5000])
def test_a_bad_length_of_the_json_is_refused(client: Client, length: str) -> None:
    answer = client.request("POST", INFER, b"{}", {"Inference-Header-Content-Length": length})
    assert answer.status == 400, answer.body
    assert set(answer.json) == {"error"}


def test_other_errors_are_the_protocols(
    client: Client, start_server: StartServer, photo: bytes
) -> None:
    document = request("image", "BYTES", [1], [b64(b"text")])
    assert post(client, document).status == 415
    assert "error" in post(client, document).json
    assert client.get("/v2/models/nope").json == client.get("/v2/models/nope/ready").json
    assert "no model 'nope'" in client.get("/v2/models/nope").json["error"]
    assert client.get("/v2/models/d-empty/ready").status == 503
    assert client.get("/v2/nope").json["error"].startswith("no such address")
    small = start_server(max_pixels="100").client()
    large = request("image_uint8", "UINT8", [1, 64, 96, 3], [0])
    answer = post(small, large)
    assert (answer.status, "YOLO_MAX_PIXELS" in answer.json["error"]) == (413, True)
    small.close()


def test_all_routes_but_health_need_the_key(start_server: StartServer) -> None:
    client = start_server(api_key="sesame").client()
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}
    model = "/v2/models/a-tiny"
    for path in ("/v2", model, f"{model}/ready", f"{model}/config", f"{model}/versions/1"):
        assert set(client.get(path).json) == {"error"}
        assert client.get(path).status == 401
        assert client.get(path, **{"X-API-Key": "sesame"}).status == 200
    assert post(client, {}).status == 401
    assert client.request("POST", "/v2/repository/index").status == 401
    client.close()


def test_version_1_is_the_model(client: Client, photo: bytes) -> None:
    one = "/v2/models/a-tiny/versions/1"
    for path in ("", "/ready", "/config"):
        answer = client.get(one + path)
        assert answer.status == 200, answer.body
        assert answer.json == client.get("/v2/models/a-tiny" + path).json
    document = request("image", "BYTES", [1], [b64(photo)])
    body = json.dumps(document).encode()
    kind = {"Content-Type": "application/json"}
    answer = client.request("POST", f"{one}/infer", body, kind)
    assert (answer.status, answer.json) == (200, post(client, document).json)


@pytest.mark.parametrize("version", ["2", "01", "x", "x" * 300])
def test_another_version_is_not_found(client: Client, version: str) -> None:
    path = f"/v2/models/a-tiny/versions/{version}"
    answers = [client.get(path + end) for end in ("", "/ready", "/config")]
    answers.append(client.request("POST", f"{path}/infer", b"{}"))
    for answer in answers:
        assert answer.status == 404, answer.body
        assert f"no version '{version[:100]}'" in answer.json["error"]
        assert len(answer.json["error"]) < 200


def test_a_model_has_a_configuration_of_tritons(client: Client) -> None:
    found = client.get("/v2/models/a-tiny/config").json
    Draft4Validator(schema("/v2/models/{model}/config", "get", "200")).validate(found)
    assert (found["name"], found["max_batch_size"]) == ("a-tiny", 0)
    kinds = [(tensor["name"], tensor["data_type"]) for tensor in found["input"]]
    assert kinds[:2] == [("image", "TYPE_STRING"), ("image_uint8", "TYPE_UINT8")]
    assert {tensor["name"] for tensor in found["output"]} >= {"boxes", "labels"}
    assert "no model 'nope'" in client.get("/v2/models/nope/config").json["error"]


def test_the_repository_lists_its_models(client: Client) -> None:
    answer = client.request("POST", "/v2/repository/index")
    Draft4Validator(schema("/v2/repository/index", "post", "200")).validate(answer.json)
    models = {entry.pop("name"): entry for entry in answer.json}
    assert models["a-tiny"] == {"version": "1", "state": "READY", "reason": ""}
    assert models["d-empty"]["state"] == "UNAVAILABLE"
    assert "expected one .cfg" in models["d-empty"]["reason"]
    kind = {"Content-Type": "application/json"}
    ready = client.request("POST", "/v2/repository/index", b'{"ready": true}', kind).json
    assert "a-tiny" in {entry["name"] for entry in ready}
    assert "d-empty" not in {entry["name"] for entry in ready}
    wrong = client.request("POST", "/v2/repository/index", b"[]", kind)
    assert (wrong.status, set(wrong.json)) == (400, {"error"})


def test_server_and_models_describe_themselves(client: Client) -> None:
    assert client.get("/v2").json["name"] == "yolo-service"
    described = client.get("/v2/models/b-shy").json
    assert described["name"] == "b-shy"
    assert [tensor["name"] for tensor in described["inputs"]] == [
        "image",
        "image_uint8",
        "image_fp32",
    ]
    assert client.get("/v2/models/b-shy/ready").json == {"name": "b-shy", "ready": True}
    Draft4Validator(schema("/v2/models/{model}", "get", "200")).validate(described)
