"""Drawn images."""

from __future__ import annotations

import io
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests.support.answers import problem
from tests.support.fixtures import BOUNDARY, Answer, Client, Find, Part, multipart
from yolo_service.images.decode import decode
from yolo_service.images.draw import draw

PNG = {"Accept": "image/png"}


def post(client: Client, parts: list[Part], **headers: str) -> Answer:
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return client.request("POST", "/annotate", multipart(parts), {**kind, **headers})


def pixels(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body
    return np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB"), np.uint8)


def test_what_the_library_finds_is_drawn_where_it_is(
    client: Client, photo: bytes, find: Find
) -> None:
    image = decode(photo, max_pixels=10**6)
    expected = draw(image, find(photo, 0.01))
    drawn = pixels(post(client, [("image_file", photo), ("threshold", "0.01")], **PNG))
    assert drawn.shape == (64, 96, 3)
    np.testing.assert_array_equal(drawn, expected)
    assert (drawn != image).any()


def test_nothing_found_leaves_the_image_as_it_is(client: Client, photo: bytes) -> None:
    drawn = pixels(post(client, [("image_file", photo), ("threshold", "1")], **PNG))
    np.testing.assert_array_equal(drawn, decode(photo, max_pixels=10**6))


def test_only_wanted_classes_in_the_region_are_drawn(
    client: Client, photo: bytes, find: Find
) -> None:
    found = find(photo, 0.01)
    wanted = found.where((found.class_ids == 1) & (found.boxes[:, 0] <= 48))
    assert 0 < len(wanted) < len(found)
    parts: list[Part] = [("image_file", photo), ("threshold", "0.01")]
    parts += [("classes", "dog"), ("region", "0,0,48,64")]
    expected = draw(decode(photo, max_pixels=10**6), wanted)
    np.testing.assert_array_equal(pixels(post(client, parts, **PNG)), expected)


def test_a_url_is_annotated_as_an_upload(client: Client, photo: bytes, photos: str) -> None:
    url = quote(f"{photos}/photo.jpg", safe="")
    by_url = client.get(f"/annotate?url={url}&threshold=0.01", Accept="image/png")
    upload = post(client, [("image_file", photo), ("threshold", "0.01")], **PNG)
    np.testing.assert_array_equal(pixels(by_url), pixels(upload))


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "jpeg"),
        ("*/*", "jpeg"),
        ("image/*", "jpeg"),
        ("image/png", "png"),
        ("image/png;q=0.5, image/jpeg;q=0.4", "png"),
        ("text/html,application/xhtml+xml,image/webp,*/*;q=0.8", "jpeg"),
    ],
)
def test_accept_chooses_between_jpeg_and_png(
    client: Client, photo: bytes, accept: str | None, kind: str
) -> None:
    answer = post(client, [("image_file", photo)], **({"Accept": accept} if accept else {}))
    assert answer.headers["Content-Type"] == f"image/{kind}"
    assert Image.open(io.BytesIO(answer.body)).format == kind.upper()
    assert answer.headers["Vary"] == "Accept"


def test_a_client_that_reads_only_bytes_gets_a_jpeg(client: Client, photo: bytes) -> None:
    answer = post(client, [("image_file", photo)], Accept="application/octet-stream")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert Image.open(io.BytesIO(answer.body)).format == "JPEG"


def test_a_client_that_accepts_none_is_answered_406(client: Client, photo: bytes) -> None:
    answer = post(client, [("image_file", photo)], Accept="application/json")
    problem(answer, 406, "only image/jpeg, image/png, application/octet-stream")


def test_errors_are_problems(client: Client, photo: bytes, photos: str) -> None:
    problem(post(client, [("image_file", b"text")]), 415, "JPEG")
    problem(post(client, [("image_file", b"")]), 400, "image_file: the file is empty")
    problem(post(client, [("image_file", photo)] * 2), 400, "expected one file, found 2")
    problem(client.get(f"/annotate?url={photos}/missing"), 424, "404")
    problem(client.get("/annotate?url=http://a/&model=nope"), 404, "no model 'nope'")
