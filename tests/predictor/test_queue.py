"""How waiting images are grouped into calls of the network."""

from __future__ import annotations

import threading

import pytest

from tests.support.fakes import GREY, FakeEngine
from tests.support.predictors import (
    SECONDS,
    MakePredictor,
    calls_for,
    computed_once,
    occupy,
)
from yolo_service.errors import (
    ClientGone,
    Overloaded,
)
from yolo_service.predictor import Options
from yolo_service.predictor.queue import MAX_GROUP, MAX_GROUP_SECONDS


def test_jobs_of_a_model_share_a_call_of_the_network(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor(batch_size=3, batch_wait_ms=1000)
    for future in [predictor.submit(GREY) for _ in range(3)]:
        future.result(SECONDS)
    assert engine.calls == [3]


def test_images_of_a_fast_model_are_taken_together(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    assert calls_for(computed_once(make_predictor(), engine), engine, MAX_GROUP + 1) == [
        MAX_GROUP,
        1,
    ]


def test_images_of_a_slow_model_do_not_wait_for_each_other(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    engine.seconds = MAX_GROUP_SECONDS * 0.6
    assert calls_for(computed_once(make_predictor(), engine), engine, 3) == [1, 1, 1]


def test_a_fast_model_does_not_make_groups_of_a_slow_one(
    make_predictor: MakePredictor, engines: dict[str, FakeEngine]
) -> None:
    slow, fast = engines["a"], engines["b"]
    slow.seconds = MAX_GROUP_SECONDS * 0.6
    predictor = computed_once(make_predictor(), slow)
    occupy(predictor, slow)
    between = predictor.submit(GREY, Options(model="b"))
    futures = [predictor.submit(GREY) for _ in range(3)]
    slow.calls.clear()
    slow.go.set()
    for future in (between, *futures):
        future.result(SECONDS)
    assert (slow.calls, fast.calls) == ([1, 1, 1], [1])


def test_clients_that_left_do_not_make_groups_of_a_slow_model(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    engine.seconds = MAX_GROUP_SECONDS * 0.6
    predictor = computed_once(make_predictor(), engine)
    occupy(predictor, engine)
    gone = predictor.submit(GREY, finish=str, is_wanted=lambda: False)
    futures = [predictor.submit(GREY) for _ in range(3)]
    engine.calls.clear()
    engine.go.set()
    for future in futures:
        future.result(SECONDS)
    assert isinstance(gone.exception(0), ClientGone)
    assert engine.calls == [1, 1, 1]


def test_images_that_are_kept_are_in_memory_one_at_a_time(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = computed_once(make_predictor(), engine)
    assert calls_for(predictor, engine, 3, Options(keep_image=True)) == [1, 1, 1]


def test_a_batch_size_that_was_set_is_kept_to(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    assert calls_for(make_predictor(batch_size=1), engine, 3) == [1, 1, 1]


def test_idle_workers_share_what_comes(make_predictor: MakePredictor, engine: FakeEngine) -> None:
    predictor = computed_once(make_predictor(workers=2), engine)
    engine.go.clear()
    futures = [predictor.submit(GREY) for _ in range(4)]
    assert engine.entered.acquire(timeout=SECONDS)
    assert engine.entered.acquire(timeout=SECONDS)
    engine.go.set()
    for future in futures:
        future.result(SECONDS)
    assert max(engine.calls) <= 3


def test_jobs_with_other_thresholds_or_models_are_not_mixed(
    make_predictor: MakePredictor, engines: dict[str, FakeEngine]
) -> None:
    predictor = make_predictor(batch_size=4, batch_wait_ms=10)
    options = (Options(), Options(model="b"), Options(threshold=0.9))
    futures = [predictor.submit(GREY, each) for each in options]
    scores = [future.result(SECONDS).detections.scores[0].item() for future in futures]
    assert scores == pytest.approx([0.25, 0.25, 0.9])
    assert (engines["a"].calls, engines["b"].calls) == ([1, 1], [1])


def test_a_batch_that_does_not_fill_goes_after_its_wait(make_predictor: MakePredictor) -> None:
    assert make_predictor(batch_size=8, batch_wait_ms=50).submit(GREY).result(SECONDS).detections


def test_a_queue_that_would_take_too_long_refuses_at_once(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    engine.seconds = 0.4
    predictor = computed_once(make_predictor(queue_seconds=1), engine)
    occupy(predictor, engine)
    waiting = [predictor.submit(GREY) for _ in range(3)]
    error = predictor.submit(GREY).exception(0)
    assert isinstance(error, Overloaded)
    assert error.retry_after == 2
    engine.seconds = 0
    engine.go.set()
    for future in waiting:
        future.result(SECONDS)
    assert predictor.submit(GREY).result(SECONDS)


def test_one_worker_is_free_for_images_that_are_not_kept(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor, go = make_predictor(workers=2), threading.Event()
    drawing = [
        predictor.submit(GREY, Options(keep_image=True), finish=lambda _: go.wait(SECONDS))
        for _ in range(4)
    ]
    for _ in range(3):
        assert predictor.submit(GREY).result(SECONDS)
    assert not any(future.done() for future in drawing)
    go.set()
    assert all(future.result(SECONDS) for future in drawing)
