"""Several images in one ``POST /detect``."""

from __future__ import annotations

import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # has no types

from tests.api.conftest import LocalClient
from tests.support.answers import problem
from tests.support.contract import schema
from tests.support.fixtures import Client, Part, StartServer
from tests.support.sample_images import jpeg

OPTIONS: list[Part] = [("threshold", "0.01")]


@pytest.mark.parametrize("form", ["darknet", "objects", "opex"])
def test_each_image_is_answered_as_alone_and_in_order(
    client: Client, photo: bytes, form: str
) -> None:
    options = [*OPTIONS, ("format", form)]
    images = [photo, jpeg(31, 77), photo, jpeg(200, 90)]
    answer = client.post([*(("image_file", data) for data in images), *options])
    assert answer.status == 200
    alone = [client.post([("image_file", data), *options]).json for data in images]
    together = answer.json
    for document in (*alone, *together):
        if form != "darknet":
            del document["timings" if form == "objects" else "timestamp"]
    assert together == alone


def test_a_table_is_for_one_image(client: Client, photo: bytes) -> None:
    parts: list[Part] = [("image_file", photo), ("image_file", photo), ("format", "rois")]
    problem(client.post(parts), 400, "format: rois is for one image, found 2")


def test_a_bad_image_does_not_fail_the_others(client: Client, photo: bytes) -> None:
    parts = [photo, b"just text", photo[: len(photo) // 2], b"", photo]
    answer = client.post([*(("image_file", data) for data in parts), *OPTIONS])
    assert answer.status == 200
    first, text, broken, empty, last = answer.json
    assert first == last == client.post([("image_file", photo), *OPTIONS]).json
    assert [entry["status"] for entry in (text, broken, empty)] == [415, 422, 400]
    assert text["type"] == "unsupported-image-type"
    assert "empty" in empty["detail"]
    Draft4Validator(schema("/detect", "post", "200")).validate(answer.json)


def test_a_batch_larger_than_the_queue_is_answered(start_server: StartServer, photo: bytes) -> None:
    """It waits for its own images instead of filling the queue, so others are served meanwhile."""
    client = start_server(workers="1", queue_size="1").client()
    answer = client.post([("image_file", photo)] * 32)
    assert answer.status == 200
    assert len(answer.json) == 32
    client.close()


def test_a_fault_of_the_service_fails_the_whole_request(
    late_client: LocalClient, photo: bytes
) -> None:
    """Trying again helps then, so the status has to say it."""
    problem(late_client.post([("image_file", photo)] * 2), 504, "YOLO_REQUEST_TIMEOUT")


def test_a_wrong_option_fails_the_request(client: Client, photo: bytes) -> None:
    problem(client.post([("image_file", photo)] * 2 + [("model", "nope")]), 404, "no model 'nope'")
