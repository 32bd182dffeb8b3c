"""Whether a file has arrived whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from yolo_service.images.end_marker import is_whole

KINDS = ["JPEG", "PNG", "GIF", "WEBP", "BMP"]


def encoded(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", [*KINDS, "TIFF"])
def test_a_whole_file_is_whole_whatever_follows_it(kind: str) -> None:
    data = encoded(kind)
    assert is_whole(data)
    assert is_whole(data + bytes(100))


@pytest.mark.parametrize("kind", KINDS)
def test_no_beginning_of_a_file_is_whole(kind: str) -> None:
    data = encoded(kind)
    ends = [*range(0, len(data) - 1, 7), len(data) - 1]
    # Of a GIF, pixels may look like its last byte.
    wrong = [end for end in ends if is_whole(data[:end])]
    assert len(wrong) <= (len(ends) // 50 if kind == "GIF" else 0), wrong


def test_a_progressive_jpeg_ends_after_its_last_scan() -> None:
    data = encoded("JPEG", progressive=True)
    assert is_whole(data)
    assert not any(is_whole(data[:end]) for end in range(0, len(data) - 2, 5))


def test_the_end_of_a_thumbnail_is_not_that_of_the_image() -> None:
    thumbnail, data = encoded("JPEG"), encoded("JPEG")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = data[:2] + segment + data[2:]
    assert is_whole(data)
    assert not is_whole(data[:-2])
    assert not is_whole(data[: len(segment) + 10])


def test_a_tiff_without_its_list_of_tags_is_not_whole() -> None:
    data = encoded("TIFF")
    assert not is_whole(data[:8])


@pytest.mark.parametrize("data", [b"", bytes(8), bytes(10_000)])
def test_reserved_space_is_not_whole(data: bytes) -> None:
    assert not is_whole(data)


def test_what_is_no_image_has_no_end_that_could_be_missing() -> None:
    assert is_whole(b"not an image")
