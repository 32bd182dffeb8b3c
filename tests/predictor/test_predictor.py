from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import sample_images
from tests.support.fakes import GREY, FakeEngine
from tests.support.networks import write_model
from tests.support.predictors import (
    SECONDS,
    MakePredictor,
    eventually,
    occupy,
)
from yolo_service import logs
from yolo_service.errors import (
    BadRequest,
    ClientGone,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    ShuttingDown,
    UnsupportedImageType,
)
from yolo_service.models.repository import ModelRepository
from yolo_service.predictor import Options, Predictor, open_predictor
from yolo_service.settings import load_settings
from yolo_service.threads import submit_each


def test_an_answer_has_detections_size_names_and_times(make_predictor: MakePredictor) -> None:
    answer = (
        make_predictor()
        .submit(GREY, Options(threshold=0.5), name="x.jpg", fetch_ms=3)
        .result(SECONDS)
    )
    assert answer.detections.scores.tolist() == [0.5]
    assert (answer.width, answer.height) == (16, 8)
    assert (answer.model, answer.engine, answer.device, answer.name) == (
        "a",
        "openvino",
        "CPU",
        "x.jpg",
    )
    times = answer.timings
    assert times.fetch_ms == 3
    assert min(times.queue_ms, times.decode_ms, times.inference_ms) >= 0


def test_an_encoded_image_is_decoded(make_predictor: MakePredictor) -> None:
    answer = make_predictor().submit(sample_images.jpeg(64, 48)).result(SECONDS)
    assert (answer.width, answer.height) == (64, 48)


def test_an_image_is_kept_only_if_asked_for(make_predictor: MakePredictor) -> None:
    predictor = make_predictor()
    kept = predictor.submit(GREY, Options(keep_image=True)).result(SECONDS)
    assert kept.image is GREY
    with pytest.raises(ValueError, match="keep_image"):
        _ = predictor.submit(GREY).result(SECONDS).image


def test_boxes_of_a_reduced_image_are_in_pixels_of_the_whole_one(
    make_predictor: MakePredictor,
) -> None:
    data = sample_images.jpeg(1280, 960)
    whole = make_predictor().submit(data).result(SECONDS)
    reduced = make_predictor(decode="reduced").submit(data).result(SECONDS)
    assert (reduced.width, reduced.height) == (whole.width, whole.height) == (1280, 960)
    factor = reduced.detections.boxes[0, 0] / whole.detections.boxes[0, 0]
    np.testing.assert_allclose(reduced.detections.boxes, whole.detections.boxes * factor)
    assert factor in (2, 4, 8)


def test_the_result_is_made_on_a_worker(make_predictor: MakePredictor) -> None:
    future = make_predictor().submit(GREY, finish=lambda _: threading.current_thread().name)
    assert future.result(SECONDS) == "worker-0"


def test_a_full_queue_refuses_at_once(make_predictor: MakePredictor, engine: FakeEngine) -> None:
    predictor = make_predictor(queue_size=2)
    occupy(predictor, engine)
    waiting = [predictor.submit(GREY) for _ in range(2)]
    error = predictor.submit(GREY).exception(0)
    assert isinstance(error, Overloaded)
    assert error.retry_after == 1
    assert not any(future.done() for future in waiting)


def test_a_job_past_its_deadline_costs_no_inference(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor()
    occupy(predictor, engine)
    late = predictor.submit(GREY, deadline=time.monotonic())
    engine.go.set()
    with pytest.raises(DeadlineExceeded):
        late.result(SECONDS)
    predictor.submit(GREY).result(SECONDS)
    assert engine.calls == [1, 1]


def test_a_cancelled_job_costs_no_inference_and_frees_its_image(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor()
    occupy(predictor, engine)
    future = predictor.submit(GREY)
    (job,) = predictor.queue._jobs
    assert future.cancel()
    assert job.image == b""
    engine.go.set()
    predictor.submit(GREY).result(SECONDS)
    assert engine.calls == [1, 1]


def test_a_job_whose_client_has_gone_costs_no_inference(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    future = make_predictor().submit(GREY, finish=str, is_wanted=lambda: False)
    with pytest.raises(ClientGone):
        future.result(SECONDS)
    assert engine.calls == []


def test_a_broken_image_fails_alone(make_predictor: MakePredictor) -> None:
    predictor = make_predictor(batch_size=2, batch_wait_ms=1000)
    good, bad = predictor.submit(GREY), predictor.submit(b"broken")
    assert good.result(SECONDS)
    with pytest.raises(UnsupportedImageType):
        bad.result(SECONDS)


def test_several_workers_compute_at_once(make_predictor: MakePredictor, engine: FakeEngine) -> None:
    predictor = make_predictor(workers=2)
    occupy(predictor, engine)
    second = predictor.submit(GREY)
    assert engine.entered.acquire(timeout=SECONDS)
    engine.go.set()
    assert second.result(SECONDS)


def test_an_unexpected_error_reaches_the_future_and_the_worker_goes_on(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor()
    engine.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        predictor.submit(GREY).result(SECONDS)
    engine.error = None
    with pytest.raises(KeyError):
        predictor.submit(GREY, finish=lambda _: {"y": 1}["x"]).result(SECONDS)
    assert predictor.submit(GREY).result(SECONDS)


def test_a_threshold_outside_its_range_is_refused(make_predictor: MakePredictor) -> None:
    with pytest.raises(BadRequest, match="nms: expected a number from 0 to 1, found 2"):
        make_predictor().submit(GREY, Options(nms=2))


def test_an_unknown_model_fails_while_another_one_is_loading(tmp_path: Path) -> None:
    write_model(tmp_path / "a")
    go, loading = threading.Event(), threading.Event()

    def load(files: Any) -> Any:
        loading.set()
        assert go.wait(SECONDS)
        return FakeEngine().network(files)

    predictor = Predictor(ModelRepository([tmp_path], load), load_settings(workers=1))
    first = predictor.submit(GREY)
    assert loading.wait(SECONDS)
    with pytest.raises(ModelNotFound, match="no model 'x'; there are: a"):
        predictor.submit(GREY, Options(model="x")).result(SECONDS)
    assert not first.done()
    go.set()
    assert first.result(SECONDS).model == "a"
    assert predictor.close(time.monotonic() + SECONDS)


def test_an_unloaded_model_finishes_its_queue_and_is_closed_on_the_loaders_thread(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor()
    first = occupy(predictor, engine)
    queued = predictor.submit(GREY)
    predictor.models.unload("a")
    assert not engine.is_closed
    engine.go.set()
    assert first.result(SECONDS)
    assert queued.result(SECONDS)
    eventually(lambda: engine.closed_by)
    assert engine.closed_by == "model-loader-0"


def test_cancelling_the_last_user_of_an_unloaded_model_does_not_close_it_under_a_worker(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor()
    first = occupy(predictor, engine)
    predictor.models.unload("a")
    assert first.cancel()
    assert not engine.is_closed
    engine.go.set()
    assert predictor.close(time.monotonic() + SECONDS)
    assert engine.is_closed


def test_closing_refuses_what_waits_and_what_comes(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor()
    first = occupy(predictor, engine)
    waiting = predictor.submit(GREY)
    assert not predictor.close(time.monotonic())
    with pytest.raises(ShuttingDown):
        waiting.result(SECONDS)
    engine.go.set()
    assert first.result(SECONDS)
    assert isinstance(predictor.submit(GREY).exception(SECONDS), ShuttingDown)


def test_many_images_come_back_in_order_with_bounded_memory(make_predictor: MakePredictor) -> None:
    predictor, taken = make_predictor(workers=2), 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken = number
            yield number

    def submit(number: int) -> Future[int]:
        if number == 7:
            raise OSError("no such file")
        return predictor.submit(GREY, finish=lambda _: number)

    found: list[int | str] = []
    for done, future in enumerate(submit_each(numbers(), submit, ahead=4)):
        try:
            found.append(future.result(SECONDS))
        except OSError as error:
            found.append(str(error))
        assert taken - done <= 4
    assert found == [*range(7), "no such file", *range(8, 50)]


def test_images_that_nobody_waits_for_any_more_are_cancelled(
    make_predictor: MakePredictor, engine: FakeEngine
) -> None:
    predictor = make_predictor()
    occupy(predictor, engine)
    each = submit_each(range(9), lambda _: predictor.submit(GREY), ahead=3)
    first = next(each)
    jobs = list(predictor.queue._jobs)
    each.close()
    assert not first.cancelled()
    assert [job.future.cancelled() for job in jobs] == [False, True, True]


def test_log_lines_of_a_worker_have_the_id_of_the_request(
    make_predictor: MakePredictor, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("test")
    seen: list[str | None] = []

    class Handler(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            seen.append(logs.request_id.get())

    log.addHandler(Handler())
    token = logs.request_id.set("my-request")
    try:
        make_predictor().submit(GREY, finish=lambda _: log.warning("drawn")).result(SECONDS)
    finally:
        logs.request_id.reset(token)
    assert seen == ["my-request"]


def test_a_predictor_opened_from_settings_detects_in_a_photo(tmp_path: Path) -> None:
    write_model(tmp_path / "pets")
    with open_predictor(load_settings(models_dir=tmp_path, workers=1)) as predictor:
        answer = predictor.submit(sample_images.jpeg(96, 64), Options(threshold=0.01)).result()
    assert (answer.model, answer.width, answer.height) == ("pets", 96, 64)


def test_an_image_is_freed_with_its_result_not_by_the_garbage_collector(
    make_predictor: MakePredictor,
) -> None:
    predictor = make_predictor()
    gc.disable()
    try:
        images = [GREY.copy() for _ in range(3)]
        alive = [weakref.ref(image) for image in images]
        for image in images:
            predictor.submit(image).result(SECONDS)
        del image, images
        eventually(lambda: all(reference() is None for reference in alive))
    finally:
        gc.enable()
