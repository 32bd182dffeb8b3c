"""Images that are not plain are decoded in a process of its own, which cannot take much."""

from __future__ import annotations

import io
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support import hostile, sample_images
from tests.support.predictors import SECONDS, MakePredictor
from yolo_service.errors import ServiceError, Unavailable, UndecodableImage
from yolo_service.images import image_header, isolated
from yolo_service.images.decode import PROCESSES, DecodeOptions, ImageDecoder, decode

MAX_PIXELS = 50_000_000


def cmyk() -> bytes:
    file = io.BytesIO()
    Image.fromarray(sample_images.quarters()).convert("CMYK").save(file, "JPEG")
    return file.getvalue()


ODD = {
    "16-bit PNG": sample_images.png16(3),
    "GIF": sample_images.encode(sample_images.quarters(), "GIF"),
    "WebP": sample_images.encode(sample_images.quarters(), "WEBP", lossless=True),
    "BMP": sample_images.encode(sample_images.quarters(), "BMP"),
    "TIFF": sample_images.encode(sample_images.quarters(), "TIFF"),
    "CMYK JPEG": cmyk(),
    "JPEG with unclear EXIF": sample_images.oriented("JPEG", 6).replace(b"Exif\0\0", b"Exif\0\0X"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_image_that_is_not_plain_has_the_pixels_that_opencv_decodes(name: str) -> None:
    decoder = ImageDecoder(MAX_PIXELS)
    assert decoder.decode_plain(ODD[name], DecodeOptions()) is None
    expected = cv2.imdecode(np.frombuffer(ODD[name], np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decoder.decode_isolated(ODD[name]).pixels, expected)


@pytest.mark.parametrize(
    "data", [sample_images.jpeg(), sample_images.jpeg(progressive=True), sample_images.png()]
)
def test_a_plain_image_needs_no_process(data: bytes) -> None:
    assert image_header.read(data).is_plain
    assert ImageDecoder(MAX_PIXELS).decode_plain(data, DecodeOptions()) is not None


def test_images_of_several_threads_are_decoded_at_once() -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: decode(ODD["TIFF"], max_pixels=MAX_PIXELS), range(12)))
    assert all((image == found[0]).all() for image in found)


def test_an_idle_process_that_was_killed_costs_no_image() -> None:
    decode(ODD["BMP"], max_pixels=MAX_PIXELS)
    for process in PROCESSES._idle:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
    assert decode(ODD["BMP"], max_pixels=MAX_PIXELS).shape == (48, 64, 3)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", hostile.FILES)
def test_a_hostile_file_ends_within_its_processor_time_and_memory(name: str) -> None:
    data = hostile.FILES[name]()
    before, peak = os.times(), _peak_of_children()
    with pytest.raises(ServiceError):
        decode(data, max_pixels=MAX_PIXELS)
    PROCESSES.close()
    after = os.times()
    used = after.children_user + after.children_system
    assert used - before.children_user - before.children_system < 6
    assert _peak_of_children() - peak < 400_000_000


def test_a_hostile_file_does_not_keep_a_worker_from_other_images(
    make_predictor: MakePredictor,
) -> None:
    predictor = make_predictor(workers=1)
    slow = predictor.submit(hostile.progressive_jpeg(7000, 98, arithmetic=True))
    for _ in range(3):
        assert predictor.submit(sample_images.jpeg()).result(SECONDS)
    assert not slow.done()
    with pytest.raises(UndecodableImage):
        slow.result(60)


def test_an_odd_image_goes_through_the_predictor(make_predictor: MakePredictor) -> None:
    answer = make_predictor().submit(ODD["TIFF"]).result(SECONDS)
    assert (answer.width, answer.height) == (64, 48)
    assert answer.timings.decode_ms > 0


@pytest.mark.parametrize("executable", ["/bin/false", "/does/not/exist"])
def test_a_process_that_cannot_be_started_is_the_services_fault(
    executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PROCESSES.close()
    files = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(Unavailable, match="decoder process"):
        decode(ODD["GIF"], max_pixels=MAX_PIXELS)
    assert len(list(Path("/proc/self/fd").iterdir())) == files


def test_where_files_in_memory_are_missing_images_are_decoded_in_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolated, "IS_SUPPORTED", False)
    assert decode(ODD["GIF"], max_pixels=MAX_PIXELS).shape == (48, 64, 3)


def _peak_of_children() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
