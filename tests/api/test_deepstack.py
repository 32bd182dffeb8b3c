"""DeepStack and CodeProject.AI."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # has no types

from tests.support.contract import schema
from tests.support.fixtures import Answer, Client, Find, Part, StartServer

DETECTION = "/v1/vision/detection"


def refused(answer: Answer, status: int, words: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json
    assert set(document) == {"success", "error", "duration"}
    assert document["success"] is False
    assert words in document["error"]


def predictions(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    Draft4Validator(schema(DETECTION, "post", "200")).validate(answer.json)
    found: list[dict[str, Any]] = answer.json["predictions"]
    assert answer.json["count"] == len(found)
    return found


def test_corners_are_whole_pixels_within_the_image(
    client: Client, photo: bytes, find: Find
) -> None:
    expected = find(photo, 0.4)
    found = predictions(client.post([("image", photo)], DETECTION))
    assert [item["label"] for item in found] == expected.labels
    assert len(found) > 1
    edges = [[item[name] for name in ("x_min", "y_min", "x_max", "y_max")] for item in found]
    corners = np.clip(expected.corners, 0, (96, 64, 96, 64))
    assert not np.array_equal(corners, expected.corners)
    np.testing.assert_allclose(edges, corners, atol=0.51)
    scores = [item["confidence"] for item in found]
    np.testing.assert_allclose(scores, expected.scores, atol=1e-4)


def test_min_confidence_is_040_unless_sent(client: Client, photo: bytes, find: Find) -> None:
    def count(*more: Part) -> int:
        return len(predictions(client.post([("image", photo), *more], DETECTION)))

    assert count() == count(("min_confidence", "")) == len(find(photo, 0.4))
    assert count(("min_confidence", "0.1")) == len(find(photo, 0.1)) > count()
    assert count(("min_confidence", "1.0")) == count(("min_confidence", "1")) == 0


def test_a_model_is_chosen_by_its_address(client: Client, photo: bytes) -> None:
    """The threshold of its model.yaml, which is 1, gives way to DeepStack's own."""
    low: Part = ("min_confidence", "0.01")
    answer = client.post([("image", photo), low], "/v1/vision/custom/b-shy")
    assert predictions(answer)
    assert answer.json["command"] == "custom"


def test_an_answer_has_codeproject_ais_fields(client: Client, photo: bytes) -> None:
    document = client.post([("image", photo)], DETECTION).json
    assert document["message"].startswith("Found ")
    assert {"cat", "dog"} >= set(document["message"].removeprefix("Found ").split(", "))
    assert document["duration"] == document["analysisRoundTripMs"] >= document["processMs"]
    assert document["processMs"] >= document["inferenceMs"] >= 0
    assert parsedate_to_datetime(document["timestampUTC"]).tzinfo
    nothing = client.post([("image", photo), ("min_confidence", "1")], DETECTION).json
    assert (nothing["message"], nothing["predictions"]) == ("No objects found", [])


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ([], 400, "No valid image file found"),
        ([("image", "text")], 400, "No valid image file found"),
        ([("image", b"")], 400, "No valid image file found"),
        ([("image", b"text")], 400, "invalid image file"),
        ([("image", b"\xff\xd8\xff\xe0 broken")], 400, "invalid image file"),
        ([("image", b"a"), ("min_confidence", "abc")], 400, "Invalid value for min_confidence"),
        ([("image", b"a"), ("min_confidence", "-1")], 400, "Invalid value for min_confidence"),
        ([("image", b"a"), ("min_confidence", "nan")], 400, "Invalid value for min_confidence"),
        ([("image", b"a"), ("min_confidence", "1.01")], 400, "min_confidence cannot be greater"),
        ([("image", b"a"), ("min_confidence", "80")], 400, "min_confidence cannot be greater"),
    ],
)
def test_errors_are_deepstacks(client: Client, parts: list[Part], status: int, words: str) -> None:
    refused(client.post(parts, DETECTION), status, words)
    refused(client.post(parts, "/v1/vision/custom/a-tiny"), status, words)


def test_other_errors_have_deepstacks_form(client: Client, photo: bytes) -> None:
    image: Part = ("image", photo)
    refused(client.post([image], "/v1/vision/custom/nope"), 404, "no model 'nope'")
    refused(client.post([image], "/v1/vision/custom/c-broken"), 503, "the names list")
    refused(client.post([image], "/v1/vision/face"), 404, "no such address")
    refused(client.get(DETECTION), 405, "does not take this method")
    json = {"Content-Type": "application/json"}
    refused(client.request("POST", DETECTION, b"{}", json), 415, "multipart/form-data")


def test_fields_that_programs_send_besides_are_ignored(client: Client, photo: bytes) -> None:
    """Frigate and Home Assistant send an empty key where none is set; others send more."""
    parts: list[Part] = [("api_key", ""), ("image", photo), ("typedet", "1")]
    assert client.post(parts, DETECTION).status == 200


@pytest.mark.parametrize("name", ["file", "image1", ""])
def test_the_first_file_is_the_image_whatever_its_field_is_called(
    client: Client, photo: bytes, name: str
) -> None:
    expected = predictions(client.post([("image", photo)], DETECTION))
    assert predictions(client.post([(name, photo)], DETECTION)) == expected
    assert predictions(client.post([(name, photo), ("other", b"text")], DETECTION)) == expected
    both = client.post([(name, b"text"), ("image", photo)], DETECTION)
    assert predictions(both) == expected
    refused(client.post([(name, b"text")], DETECTION), 400, "invalid image file")
    refused(client.post([(name, b"")], DETECTION), 400, "No valid image file found")


def test_the_key_may_come_as_a_field_or_a_header(start_server: StartServer, photo: bytes) -> None:
    client = start_server(api_key="sesame").client()
    for path in (DETECTION, "/v1/vision/custom/a-tiny"):
        refused(client.post([("image", photo)], path), 401, "Incorrect api key")
        wrong = client.post([("image", photo), ("api_key", "wrong")], path)
        refused(wrong, 401, "Incorrect api key")
        assert client.post([("image", photo), ("api_key", "sesame")], path).status == 200
    for headers in ({"X-API-Key": "sesame"}, {"Authorization": "Bearer sesame"}):
        assert client.request("POST", "/v1/vision/custom/list", headers=headers).status == 200
    refused(client.request("POST", "/v1/vision/custom/list"), 401, "Incorrect api key")
    assert client.post([("api_key", "sesame")], "/v1/vision/custom/list").status == 200
    assert client.post([("image_file", photo), ("api_key", "sesame")]).status == 401
    assert client.get("/v1/status/ping").status == 200
    client.close()


def test_usable_models_are_listed(client: Client) -> None:
    answer = client.request("POST", "/v1/vision/custom/list")
    assert answer.json["success"]
    assert {"a-tiny", "b-shy"} <= set(answer.json["models"])
    assert "d-empty" not in answer.json["models"]
    Draft4Validator(schema("/v1/vision/custom/list", "post", "200")).validate(answer.json)


def test_the_status_routes_are_answered(client: Client) -> None:
    assert client.get("/v1/status/ping").json == {"success": True}
    version = client.get("/v1/status/version").json
    assert (version["success"], version["message"]) == (True, "0.1.0")
    assert client.get("/v1/status/updateavailable").json["updateAvailable"] is False
