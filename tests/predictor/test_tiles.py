"""Images that are cut into tiles: what the network gets, and what is answered."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest

from darknet.detections import Detections
from darknet.model import RgbImage, Thresholds
from tests.support import sample_images
from tests.support.fakes import FakeEngine, detections
from tests.support.predictors import SECONDS, MakePredictor, eventually
from yolo_service.errors import BadRequest
from yolo_service.predictor import Options

LARGE = np.full((96, 128, 3), 128, np.uint8)
"""Twice as wide and as high as the input of the small models."""
TILED = Options(tiles="2x2")


@dataclass
class ViewingEngine(FakeEngine):
    """Remembers the shapes of the views, and finds a dog only in those of one width."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    width: int = 0

    def detect(self, images: Iterable[RgbImage], _: Thresholds) -> list[Detections]:
        found = []
        for view in images:
            self.shapes.append(view.shape)
            found.append(detections(*([0.5] if view.shape[1] == self.width else [])))
        return found


@pytest.fixture
def engines() -> dict[str, FakeEngine]:
    return {"a": ViewingEngine()}


@pytest.fixture
def viewing(engines: dict[str, FakeEngine], engine: FakeEngine) -> ViewingEngine:
    assert isinstance(engine, ViewingEngine)
    engine.entered = threading.Semaphore(9)  # it does not count its calls
    return engine


def test_the_network_gets_the_whole_image_and_its_tiles(
    make_predictor: MakePredictor, viewing: ViewingEngine
) -> None:
    predictor = make_predictor()
    viewing.shapes.clear()
    viewing.width = 72
    answer = predictor.submit(LARGE, TILED).result(SECONDS)
    assert viewing.shapes == [(96, 128, 3)] + 4 * [(54, 72, 3)]
    assert (answer.width, answer.height) == (128, 96)
    found = sorted(map(tuple, answer.detections.boxes[:, :2].tolist()))
    assert found == [(10, 20), (10, 62), (66, 20), (66, 62)]


def test_auto_looks_at_the_size_of_the_image(
    make_predictor: MakePredictor, viewing: ViewingEngine
) -> None:
    predictor = make_predictor()
    viewing.shapes.clear()
    predictor.submit(LARGE, Options(tiles="auto")).result(SECONDS)
    assert viewing.shapes == [(96, 128, 3)]
    predictor.submit(np.zeros((96, 400, 3), np.uint8), Options(tiles="auto")).result(SECONDS)
    assert len(viewing.shapes) == 1 + 1 + 4


def test_tiles_are_of_the_whole_image_even_where_others_are_reduced(
    make_predictor: MakePredictor, viewing: ViewingEngine
) -> None:
    predictor = make_predictor(decode="reduced")
    viewing.shapes.clear()
    data = sample_images.jpeg(640, 480)
    predictor.submit(data).result(SECONDS)
    predictor.submit(data, TILED).result(SECONDS)
    reduced, whole, *_ = viewing.shapes
    assert reduced[1] < 640
    assert whole[:2] == (480, 640)


def test_an_image_that_is_kept_is_cut_as_well(
    make_predictor: MakePredictor, viewing: ViewingEngine
) -> None:
    answer = make_predictor().submit(LARGE, Options(tiles="2x2", keep_image=True)).result(SECONDS)
    assert answer.image is LARGE


def test_the_image_is_freed_with_its_last_view(
    make_predictor: MakePredictor, viewing: ViewingEngine
) -> None:
    predictor, image = make_predictor(), LARGE.copy()
    alive = weakref.ref(image)
    future = predictor.submit(image, TILED)
    del image
    future.result(SECONDS)
    eventually(lambda: alive() is None)


@pytest.mark.parametrize("tiles", ["two", "0x1", "9x99", "2x2:0.9"])
def test_tiles_that_cannot_be_read_are_a_bad_request(tiles: str) -> None:
    with pytest.raises(BadRequest, match="tiles: expected"):
        Options(tiles=tiles)


def test_more_tiles_than_the_setting_allows_are_refused(
    make_predictor: MakePredictor, viewing: ViewingEngine
) -> None:
    predictor = make_predictor(max_tiles=4)
    viewing.shapes.clear()
    assert predictor.submit(LARGE, TILED).result(SECONDS)
    error = predictor.submit(LARGE, Options(tiles="5x1")).exception(SECONDS)
    assert isinstance(error, BadRequest)
    assert "at most 4 tiles, found 5; ask for fewer, or set YOLO_MAX_TILES" in str(error)
    predictor.submit(np.zeros((900, 900, 3), np.uint8), Options(tiles="auto")).result(SECONDS)
    assert len(viewing.shapes) <= 5 + 5
