"""The time and memory of images that are cut into tiles, in the queue and on the workers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable

import numpy as np
import pytest

from darknet.detections import Detections
from darknet.model import RgbImage, Thresholds
from tests.support.fakes import GREY, FakeEngine
from tests.support.predictors import (
    SECONDS,
    MakePredictor,
    calls_for,
    computed_once,
    eventually,
    occupy,
)
from yolo_service.errors import ClientGone, Overloaded
from yolo_service.predictor import Options
from yolo_service.predictor.job import WANTED_SECONDS

LARGE = np.full((96, 128, 3), 128, np.uint8)
TILED = Options(tiles="2x2")


def test_the_time_of_an_image_is_that_of_a_view(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    engine.seconds = 0.02
    predictor = make_predictor()
    predictor.submit(LARGE, TILED).result(SECONDS)
    model = predictor.models.loaded(None)
    assert model is not None
    eventually(lambda: model.seconds_per_image < math.inf)
    assert 0.02 <= model.seconds_per_image < 0.06


def test_an_image_that_waits_counts_as_many_as_its_views(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    engine.seconds = 0.4
    predictor = computed_once(make_predictor(queue_seconds=1), engine)
    occupy(predictor, engine)
    waiting = predictor.submit(LARGE, TILED)
    error = predictor.submit(GREY).exception(0)
    assert isinstance(error, Overloaded)
    assert error.retry_after == 3
    engine.seconds = 0
    engine.go.set()
    assert waiting.result(SECONDS)


def test_a_damaged_image_counts_as_one_and_is_refused_when_it_is_decoded(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = computed_once(make_predictor(), engine)
    error = predictor.submit(b"no image", Options(tiles="auto")).exception(SECONDS)
    assert "no image of a known format" in str(error)


def test_images_in_tiles_are_in_memory_one_at_a_time(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = computed_once(make_predictor(), engine)
    assert calls_for(predictor, engine, 3, TILED) == [5, 5, 5]


def test_one_worker_is_free_for_images_without_tiles(make_predictor: MakePredictor) -> None:
    predictor, go = make_predictor(workers=2), threading.Event()
    tiled = [predictor.submit(LARGE, TILED, finish=lambda _: go.wait(SECONDS)) for _ in range(4)]
    for _ in range(3):
        assert predictor.submit(GREY).result(SECONDS)
    assert not any(future.done() for future in tiled)
    go.set()
    assert all(future.result(SECONDS) for future in tiled)


def test_tiles_that_nobody_waits_for_any_more_are_not_computed(
    make_predictor: MakePredictor, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, detect, asked = make_predictor(), engine.detect, 0

    def detect_slowly(images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        return detect(map(_wait, images), thresholds)

    def is_wanted() -> bool:
        nonlocal asked
        asked += 1
        return asked < 4

    monkeypatch.setattr(engine, "detect", detect_slowly)
    engine.calls.clear()
    future = predictor.submit(LARGE, Options(tiles="5x5"), finish=str, is_wanted=is_wanted)
    assert isinstance(future.exception(SECONDS), ClientGone)
    eventually(lambda: engine.calls)
    assert engine.calls[0] < 10
    assert predictor.submit(GREY).result(SECONDS)


def _wait(image: RgbImage) -> RgbImage:
    time.sleep(1.2 * WANTED_SECONDS)  # for so long a result of ``is_wanted`` is reused
    return image
