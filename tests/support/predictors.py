"""Predictors of two real models that fake engines compute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import GREY, FakeEngine
from tests.support.networks import write_model
from yolo_service.models.repository import ModelRepository
from yolo_service.predictor import Answer, Options, Predictor
from yolo_service.settings import load_settings

SECONDS = 10

MakePredictor = Callable[..., Predictor]


@pytest.fixture
def engines() -> dict[str, FakeEngine]:
    """What computes the models ``a`` (the default) and ``b``."""
    return {"a": FakeEngine(), "b": FakeEngine()}


@pytest.fixture
def engine(engines: dict[str, FakeEngine]) -> FakeEngine:
    return engines["a"]


@pytest.fixture
def make_predictor(tmp_path: Path, engines: dict[str, FakeEngine]) -> Iterator[MakePredictor]:
    """Make predictors with both models in memory, by default of one worker."""
    made: list[Predictor] = []
    for name in engines:
        write_model(tmp_path / name)

    def make(**settings: Any) -> Predictor:
        models = ModelRepository([tmp_path], lambda files: engines[files.name].network(files))
        for name, fake in engines.items():
            models.get(name)
            fake.calls.clear()
            assert fake.entered.acquire(timeout=SECONDS)
        made.append(
            Predictor(models, load_settings(**{"workers": 1, "queue_size": 16, **settings}))
        )
        return made[-1]

    yield make
    for fake in engines.values():
        fake.go.set()
    for predictor in made:
        assert predictor.close(time.monotonic() + SECONDS)


def occupy(predictor: Predictor, engine: FakeEngine) -> Future[Answer]:
    """Let a worker compute until ``engine.go`` is set."""
    engine.go.clear()
    first = predictor.submit(GREY)
    assert engine.entered.acquire(timeout=SECONDS)
    return first


def calls_for(
    predictor: Predictor, engine: FakeEngine, count: int, options: Options | None = None
) -> list[int]:
    """Return the calls of the engine in which a worker computes images that wait for it."""
    first = occupy(predictor, engine)
    futures = [predictor.submit(GREY, options or Options()) for _ in range(count)]
    engine.calls.clear()
    engine.go.set()
    for future in (first, *futures):
        future.result(SECONDS)
    return engine.calls


def computed_once(predictor: Predictor, engine: FakeEngine) -> Predictor:
    """Let the predictor measure how long an image takes."""
    predictor.submit(GREY).result(SECONDS)
    assert engine.entered.acquire(timeout=SECONDS)
    return predictor


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)
