"""Reduced decoding: a JPEG larger than the network's input is decoded at a part of its size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.support import sample_images
from tests.support.fixtures import StartServer
from tests.support.sample_images import encode, quarters
from yolo_service.images import decode as images
from yolo_service.images.decode import DecodeOptions

LIMIT = 10_000_000


@pytest.mark.parametrize(
    ("min_size", "pixels"),
    [
        ((80, 60), (120, 160)),  # (height, width) of an image of 640 x 480
        ((60, 60), (60, 80)),
        ((200, 60), (240, 320)),
        ((60, 180), (180, 240)),
        ((300, 10), (480, 640)),
        (None, (480, 640)),
    ],
)
def test_a_jpeg_is_reduced_while_it_is_large_enough_in_either_orientation(
    min_size: images.Size | None, pixels: tuple[int, int]
) -> None:
    decoded = images.decode_image(
        sample_images.jpeg(640, 480), DecodeOptions(min_size=min_size), max_pixels=LIMIT
    )
    assert decoded.pixels.shape[:2] == pixels
    assert decoded.size == (640, 480)
    assert decoded.scale == (640 / pixels[1], 480 / pixels[0])


def test_a_reduced_image_has_the_same_colours() -> None:
    data = sample_images.jpeg(640, 480)
    full = images.decode(data, max_pixels=LIMIT)
    reduced = images.decode_image(data, DecodeOptions(min_size=(60, 60)), max_pixels=LIMIT).pixels
    expected = cv2.resize(full, (80, 60), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_image_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = sample_images.jpeg(641, 483, exif=exif)
    decoded = images.decode_image(data, DecodeOptions(min_size=(60, 60)), max_pixels=LIMIT)
    full = images.decode(data, max_pixels=LIMIT)
    assert decoded.size == full.shape[1::-1]
    assert decoded.pixels.shape[:2] == ((81, 61) if orientation > 4 else (61, 81))
    expected = cv2.resize(full, decoded.pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.pixels.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sample_images.png(640, 480), id="PNG"),
        pytest.param(encode(quarters(640, 480), "JPEG", "CMYK"), id="CMYK"),
    ],
)
def test_an_image_that_simplejpeg_cannot_reduce_keeps_its_size(data: bytes) -> None:
    decoded = images.decode_image(data, DecodeOptions(min_size=(8, 8)), max_pixels=LIMIT)
    assert decoded.scale == (1, 1)


def test_a_service_may_reduce_and_answers_in_pixels_of_the_full_image(
    start_server: StartServer,
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    large = cv2.resize(noise, (384, 256), interpolation=cv2.INTER_NEAREST)
    photo = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    parts: list[tuple[str, str | bytes]] = [("image_file", photo), ("format", "objects")]
    answers = []
    for decode in ("exact", "reduced"):
        client = start_server(decode=decode).client()
        answers.append(client.post([*parts, ("threshold", "0.01")]).json)
        drawn = client.post([("image_file", photo)], "/annotate").body
        assert images.decode(drawn, max_pixels=LIMIT).shape == large.shape
        client.close()
    exact, reduced = answers
    assert exact["image"] == reduced["image"] == {"width": 384, "height": 256}
    assert exact["detections"] != reduced["detections"]  # from fewer pixels
    right = max(found["corners"]["right"] for found in reduced["detections"])
    assert right > 200  # pixels of 384, not of 96 or 192


def test_chroma_is_smoothed_unless_fast_decoding_is_set(start_server: StartServer) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    photo = cv2.imencode(".jpg", cv2.resize(noise, (96, 64)))[1].tobytes()
    parts: list[tuple[str, str | bytes]] = [("image_file", photo), ("threshold", "0.01")]
    answers = {}
    for decode in ("", "exact", "fast"):
        client = start_server(decode=decode).client()
        answers[decode] = client.post(parts).json
        client.close()
    assert answers[""] == answers["exact"]  # the model computes in fp32
    assert answers["fast"] != answers["exact"]
