"""The pixels of images that are decoded outside of the workers have a common limit."""

from __future__ import annotations

import threading

import pytest

from tests.support import sample_images
from tests.support.predictors import SECONDS, MakePredictor, eventually
from yolo_service.errors import ServiceError
from yolo_service.predictor.decoding import ByteLimit

TIFF = sample_images.encode(sample_images.quarters(), "TIFF")


def take_in_thread(limit: ByteLimit, count: int) -> threading.Event:
    """Take from a limit in a thread; the event is set when it was given."""
    taken = threading.Event()

    def take() -> None:
        limit.take(count)
        taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken


def test_what_does_not_fit_waits_until_enough_is_given_back() -> None:
    limit = ByteLimit(10)
    limit.take(6)
    taken = take_in_thread(limit, 5)
    eventually(limit._turn.locked)
    assert not taken.wait(0.1)
    limit.give_back(6)
    assert taken.wait(SECONDS)


def test_what_fits_does_not_overtake_what_came_before() -> None:
    limit = ByteLimit(10)
    limit.take(6)
    large = take_in_thread(limit, 5)
    eventually(limit._turn.locked)  # it is the next one
    small = take_in_thread(limit, 1)
    assert not small.wait(0.1)
    assert not large.is_set()
    limit.give_back(6)
    assert large.wait(SECONDS)
    assert small.wait(SECONDS)


def test_more_than_the_limit_is_given_alone() -> None:
    limit = ByteLimit(10)
    limit.take(11)
    limit.give_back(11)
    limit.take(10)
    assert not take_in_thread(limit, 1).wait(0.1)


def test_images_are_computed_one_after_another_when_each_needs_all_of_the_limit(
    make_predictor: MakePredictor,
) -> None:
    predictor = make_predictor(max_pixels=64 * 48)
    futures = [predictor.submit(TIFF) for _ in range(4)]
    futures[2].cancel()
    for future in (*futures[:2], futures[3]):
        assert future.result(SECONDS).width == 64


def test_a_damaged_image_gives_its_memory_back(make_predictor: MakePredictor) -> None:
    predictor = make_predictor(max_pixels=64 * 48)
    for _ in range(3):
        with pytest.raises(ServiceError):
            predictor.submit(TIFF[:-300]).result(SECONDS)
    assert predictor.submit(TIFF).result(SECONDS)
