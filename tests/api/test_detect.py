from __future__ import annotations

import csv
import socket
from urllib.parse import quote

import pytest

from tests.api.conftest import LocalClient
from tests.support.answers import problem
from tests.support.fixtures import Client, Find, Part, ServerProcess, StartServer


def test_an_upload_is_answered_in_the_classic_format(client: Client, photo: bytes) -> None:
    answer = client.post([("image_file", photo), ("threshold", "0.01")])
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json
    assert found
    scores = [confidence for _, confidence, _ in found]
    assert scores == sorted(scores, reverse=True)
    label, confidence, box = found[0]
    assert label in ("cat", "dog")
    assert 0.01 < confidence <= 1
    assert all(isinstance(value, float) for value in box)
    assert len(box) == 4


def test_the_answer_is_what_the_library_finds(client: Client, photo: bytes, find: Find) -> None:
    expected = find(photo, 0.01)
    found = client.post([("image_file", photo), ("threshold", "0.01")]).json
    assert [label for label, _, _ in found] == expected.labels
    for (_, confidence, box), score, own in zip(
        found, expected.scores, expected.boxes, strict=True
    ):
        assert confidence == pytest.approx(score, abs=1e-4)
        assert box == pytest.approx(own, abs=0.1)


def test_objects_name_the_model_and_the_time(client: Client, photo: bytes) -> None:
    parts: list[Part] = [("image_file", photo), ("threshold", "0.01"), ("format", "objects")]
    document = client.post(parts).json
    assert (document["model"], document["precision"]) == ("a-tiny", "fp32")
    assert document["image"] == {"width": 96, "height": 64}
    assert document["timings"]["fetch_ms"] == 0
    assert document["timings"]["inference_ms"] > 0
    assert document["detections"][0]["label"] in ("cat", "dog")


def test_opex_names_the_file(client: Client, photo: bytes, photos: str) -> None:
    upload = client.post([("image_file", photo), ("format", "opex")]).json
    url = quote(f"{photos}/cats/one%20cat.jpg?size=1", safe="")
    fetched = client.get(f"/detect?url={url}&format=opex").json
    assert upload["objects"] == fetched["objects"] != []
    assert (upload["id"], fetched["id"]) == ("image_file.bin", "one cat.jpg")


def test_regions_come_as_csv(client: Client, photo: bytes) -> None:
    answer = client.post([("image_file", photo), ("format", "rois")])
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(answer.body.decode().splitlines()))
    document = client.post([("image_file", photo)]).json
    assert [row["label_str"] for row in rows] == [label for label, _, _ in document] != []
    assert rows[0]["file"] == "image_file.bin"
    assert float(rows[0]["x1n"]) == pytest.approx(float(rows[0]["x1"]) / 96, abs=1e-4)
    assert float(rows[0]["y1n"]) == pytest.approx(float(rows[0]["y1"]) / 64, abs=1e-4)


@pytest.mark.parametrize(("form", "kind"), [("voc", "application/xml"), ("yolo", "text/plain")])
def test_annotations_come_as_text_for_one_image(
    client: Client, photo: bytes, form: str, kind: str
) -> None:
    answer = client.post([("image_file", photo), ("format", form)])
    assert answer.headers["Content-Type"].startswith(kind)
    assert answer.body
    two: list[Part] = [("image_file", photo), ("image_file", photo), ("format", form)]
    problem(client.post(two), 400, f"format: {form} is for one image")


def test_only_wanted_classes_are_answered(client: Client, photo: bytes, photos: str) -> None:
    parts: list[Part] = [("image_file", photo), ("threshold", "0.01")]
    everything = client.post(parts).json
    assert {label for label, _, _ in everything} == {"cat", "dog"}
    dogs = [row for row in everything if row[0] == "dog"]
    assert client.post([*parts, ("classes", "dog")]).json == dogs
    assert client.post([*parts, ("classes", "1")]).json == dogs
    assert client.post([*parts, ("classes", "dog, cat")]).json == everything
    url = quote(f"{photos}/photo.jpg", safe="")
    assert client.get(f"/detect?url={url}&threshold=0.01&classes=dog").json == dogs


def test_only_what_is_in_the_region_is_answered(client: Client, photo: bytes) -> None:
    parts: list[Part] = [("image_file", photo), ("threshold", "0.01")]
    everything = client.post(parts).json
    left = [row for row in everything if row[2][0] <= 48]
    assert 0 < len(left) < len(everything)
    assert client.post([*parts, ("region", "0,0,48,64")]).json == left
    assert client.post([*parts, ("region", "0,0,0.5,1")]).json == left


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("classes", "dgo", "the model has no class 'dgo'; it has dog"),
        ("classes", " , ", "classes: expected names"),
        ("region", "1", "region: expected x,y,width,height"),
        ("region", "0,0,1,0", "region: expected x,y,width,height"),
        ("region", "0,0,1,1,1", "region: expected x,y,width,height"),
        ("region", "0,0,nan,1", "region: expected x,y,width,height"),
    ],
)
def test_a_wrong_filter_is_refused(
    client: Client, photo: bytes, field: str, value: str, words: str
) -> None:
    problem(client.post([("image_file", photo), (field, value)]), 400, words)


def test_a_large_upload_in_many_pieces_is_read_whole(client: Client, photo: bytes) -> None:
    padded = photo + bytes(3_000_000)
    assert client.post([("image_file", padded)]).status == 200


def test_a_url_is_fetched(client: Client, photos: str, photo: bytes) -> None:
    url = quote(f"{photos}/photo.jpg?sign=a&b", safe="")
    by_url = client.get(f"/detect?url={url}&threshold=0.01")
    assert by_url.status == 200
    assert by_url.json == client.post([("image_file", photo), ("threshold", "0.01")]).json
    document = client.get(f"/detect?url={url}&format=objects").json
    assert document["timings"]["fetch_ms"] > 0


def test_a_url_that_fails_is_a_failed_dependency(client: Client, photos: str) -> None:
    problem(client.get(f"/detect?url={photos}/missing"), 424, "404")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "http://", "http://[::1]/", "abc"]
)
def test_a_url_that_is_not_allowed_is_refused(client: Client, url: str) -> None:
    answer = client.get(f"/detect?url={quote(url, safe='')}")
    problem(answer, 400, "")
    assert answer.json["type"] == "url-not-allowed"


def test_the_models_own_thresholds_count_unless_the_request_names_some(
    client: Client, photo: bytes
) -> None:
    shy: list[Part] = [("image_file", photo), ("model", "b-shy")]
    assert client.post(shy).json == []
    assert client.post([*shy, ("threshold", "0.01")]).json != []


@pytest.mark.parametrize("threshold", ["-1", "2", "abc", "nan", "inf", "0,5", "1e400"])
def test_a_bad_threshold_is_refused_in_words(client: Client, photo: bytes, threshold: str) -> None:
    words = f"threshold: expected a number from 0 to 1, found {threshold!r}"
    problem(client.post([("image_file", photo), ("threshold", threshold)]), 400, words)
    problem(client.get(f"/detect?url=http://a/&threshold={threshold}"), 400, words)


def test_a_form_field_without_a_value_counts_as_not_sent(client: Client, photo: bytes) -> None:
    """Browsers and Swagger UI send the fields that nobody has filled in."""
    empty: list[Part] = [(name, "") for name in ("threshold", "nms", "model", "format")]
    sent = client.post([("image_file", photo), *empty])
    assert sent.status == 200
    assert sent.json == client.post([("image_file", photo)]).json


@pytest.mark.parametrize("threshold", ["0", "1", "1.0", ".5", "1e-3"])
def test_every_notation_of_a_number_is_read(client: Client, photo: bytes, threshold: str) -> None:
    assert client.post([("image_file", photo), ("threshold", threshold)]).status == 200


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ([], 400, "image_file: missing"),
        ([("threshold", "0.5")], 400, "image_file: missing; expected a file; for example: curl"),
        ([("image_file", b"")], 400, "image_file: the file is empty"),
        ([("image_file", "text")], 400, "image_file: expected a file, found a text field"),
        ([("image_file", b"a")] * 33, 400, "image_file: expected at most 32 files, found 33"),
        ([("image_file", b"a"), ("other", b"b")], 400, "'other' is unknown in the form's files"),
        ([("image_file", b"a"), ("treshold", "0.5")], 400, "'treshold' is unknown in the form"),
        ([("image_file", b"a"), ("nms", "0"), ("nms", "1")], 400, "nms: expected one value"),
        ([("image_file", b"a"), ("format", "xml")], 400, "format: expected one of darknet, obj"),
        ([("image_file", b"a"), ("model", "nope")], 404, "no model 'nope'; there are: a-tiny"),
        ([("image_file", b"a"), ("model", "../a-tiny")], 404, "no model '../a-tiny'"),
        ([("image_file", b"a"), ("model", "c-broken")], 503, "the names list has 1"),
        ([("image_file", b"a"), ("model", "d-empty")], 503, "expected one .cfg"),
        ([("image_file", b"just text")], 415, "JPEG"),
    ],
)
def test_a_bad_form_is_refused_in_words(
    client: Client, parts: list[Part], status: int, words: str
) -> None:
    problem(client.post(parts), status, words)


def test_a_truncated_jpeg_cannot_be_decoded(client: Client, photo: bytes) -> None:
    problem(client.post([("image_file", photo[: len(photo) // 2])]), 422, "")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "url: missing"),
        ("?url=", "url: expected an http or https URL"),
        ("?url=http://a/&url=http://b/", "url: expected one value, found 2"),
        ("?url=http://a/&treshold=1", "'treshold' is unknown in the query"),
    ],
)
def test_a_bad_query_is_refused_in_words(client: Client, query: str, words: str) -> None:
    problem(client.get(f"/detect{query}"), 400, words)


def test_options_of_an_upload_do_not_go_into_the_query(client: Client, photo: bytes) -> None:
    answer = client.post([("image_file", photo)], "/detect?threshold=0.5")
    words = "threshold: belongs into the form, not into the query; for example: curl -F threshold="
    problem(answer, 400, words)


@pytest.mark.parametrize("kind", ["image/jpeg", "application/json", "text/plain", ""])
def test_another_kind_of_body_is_an_unsupported_type(
    client: Client, photo: bytes, kind: str
) -> None:
    answer = client.request("POST", "/detect", photo, {"Content-Type": kind})
    problem(answer, 415, "expected a body of type multipart/form-data")


def test_a_form_without_its_boundary_is_refused(client: Client) -> None:
    answer = client.request("POST", "/detect", b"x", {"Content-Type": "multipart/form-data"})
    problem(answer, 400, "the Content-Type of the form has no boundary")


def test_a_form_of_too_many_fields_is_refused(client: Client) -> None:
    problem(client.post([(f"f{i}", "") for i in range(100)]), 413, "too many fields")


def test_uploads_are_served_while_urls_never_answer(
    server: ServerProcess, client: Client, photo: bytes
) -> None:
    """A hundred requests hang on a server that accepts and stays silent."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        port = silent.getsockname()[1]
        request = f"GET /detect?url=http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"
        hanging = []
        for _ in range(100):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(request.encode())
            hanging.append(connection)
        reached = [silent.accept()[0] for _ in hanging]
        for _ in range(20):
            assert client.post([("image_file", photo)]).status == 200
        for connection in hanging:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        for connection in (*hanging, *reached):
            connection.close()


def test_a_request_past_its_time_is_answered_504(late_client: LocalClient, photo: bytes) -> None:
    problem(late_client.post([("image_file", photo)]), 504, "YOLO_REQUEST_TIMEOUT")


def test_limits_of_bytes_and_pixels_hold(start_server: StartServer, photo: bytes) -> None:
    server = start_server(max_upload_mb="1", max_pixels="1000")
    client = server.client()
    problem(client.post([("image_file", photo)]), 413, "")
    problem(client.post([("image_file", photo + bytes(1_100_000))]), 413, "YOLO_MAX_UPLOAD_MB")
    client.close()


def test_an_image_is_cut_into_tiles(client: Client, photo: bytes, photos: str) -> None:
    parts: list[Part] = [("image_file", photo), ("threshold", "0.1")]
    whole = client.post(parts).json
    tiled = client.post([*parts, ("tiles", "2x2")])
    assert tiled.status == 200
    assert tiled.json != whole
    by_url = client.get(f"/detect?url={quote(photos, safe='')}/a.jpg&threshold=0.1&tiles=2x2")
    assert by_url.json == tiled.json
    assert client.post([*parts, ("tiles", "1x1")]).json == whole
    drawn = client.post([*parts, ("tiles", "2x2:0.3")], "/annotate")
    assert drawn.headers["Content-Type"] == "image/jpeg"


def test_tiles_that_cannot_be_had_are_a_problem(client: Client, photo: bytes) -> None:
    for tiles, words in (
        ("two", "tiles: expected auto, or columns x rows such as 2x2 or 2x2:0.3, found 'two'"),
        ("6x6", "tiles: expected at most 32 tiles, found 36"),
        ("60x60", "tiles: expected 1 to 256 tiles"),
    ):
        problem(client.post([("image_file", photo), ("tiles", tiles)]), 400, words)
