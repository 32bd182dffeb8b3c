from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import numpy as np
import pytest

from darknet.model import Thresholds
from tests.support.fakes import GREY, FakeModel
from yolo_service.errors import (
    BadRequest,
    DeadlineExceeded,
    Overloaded,
    ShuttingDown,
    UndecodableImage,
)
from yolo_service.images.decode import DecodedImage, DecodeOptions
from yolo_service.predictor.jobs import KEEP_IMAGE, Job, Outcome
from yolo_service.predictor.scheduler import GROUP, GROUP_SECONDS, Scheduler

MakeScheduler = Callable[..., Scheduler]


def decode(data: bytes, quality: DecodeOptions) -> DecodedImage:
    if data == b"broken":
        raise UndecodableImage("broken")
    return DecodedImage.of(GREY) if quality.min_size is None else DecodedImage(GREY, (160, 40))


@pytest.fixture
def make() -> Iterator[MakeScheduler]:
    made: list[Scheduler] = []

    def make(**options: Any) -> Scheduler:
        made.append(Scheduler(decode, **{"workers": 1, "queue_size": 8, **options}))
        return made[-1]

    yield make
    for scheduler in made:
        scheduler.close()


def job(model: FakeModel, data: bytes = b"x", seconds: float = 10, **options: Any) -> Job[Outcome]:
    thresholds = options.pop("thresholds", Thresholds())
    options.setdefault("quality", DecodeOptions(keep_image=False))
    deadline = time.monotonic() + seconds
    return Job(model, data, thresholds, lambda outcome: outcome, deadline=deadline, **options)


def busy(scheduler: Scheduler, model: FakeModel) -> Job[Outcome]:
    """Occupy the only worker until ``model.go`` is set."""
    model.go.clear()
    first = job(model)
    scheduler.submit(first)
    assert model.entered.acquire(timeout=10)
    return first


def test_a_job_comes_back_with_detections_and_times(make: MakeScheduler) -> None:
    outcome = make().run(job(FakeModel(), thresholds=Thresholds(0.5)))
    assert outcome.detections.scores.tolist() == [0.5]
    assert outcome.size == (16, 8)
    assert min(outcome.queue_ms, outcome.decode_ms, outcome.inference_ms) >= 0


def test_an_image_is_kept_only_if_its_answer_shows_it(make: MakeScheduler) -> None:
    assert make().run(job(FakeModel(), quality=KEEP_IMAGE)).pixels is GREY
    assert make().run(job(FakeModel())).pixels.size == 0


def test_boxes_of_a_reduced_image_are_in_pixels_of_the_whole_one(make: MakeScheduler) -> None:
    whole_one = make().run(job(FakeModel()))
    reduced = make().run(job(FakeModel(), quality=DecodeOptions(keep_image=False, min_size=(8, 8))))
    assert reduced.size == (160, 40)
    np.testing.assert_allclose(
        reduced.detections.boxes, whole_one.detections.boxes * [10, 5, 10, 5], rtol=1e-6
    )


def test_the_answer_is_written_on_a_worker(make: MakeScheduler) -> None:
    here = threading.get_ident()
    finished = Job(
        FakeModel(),
        b"x",
        Thresholds(),
        lambda _: threading.get_ident(),
        deadline=time.monotonic() + 10,
    )
    assert make().run(finished) != here


def test_the_loop_turns_while_a_worker_computes(make: MakeScheduler) -> None:
    scheduler, model = make(), FakeModel()
    model.go.clear()
    waiting = gevent.spawn(scheduler.run, job(model))
    gevent.spawn(model.go.set)
    assert waiting.get(timeout=10)


def test_a_full_queue_refuses_at_once(make: MakeScheduler) -> None:
    scheduler, model = make(queue_size=2), FakeModel()
    busy(scheduler, model)
    scheduler.submit(job(model))
    scheduler.submit(job(model))
    with pytest.raises(Overloaded) as caught:
        scheduler.submit(job(model))
    assert caught.value.retry_after == 1
    model.go.set()


def test_a_job_past_its_deadline_costs_no_inference(make: MakeScheduler) -> None:
    scheduler, model = make(), FakeModel()
    first = busy(scheduler, model)
    with pytest.raises(DeadlineExceeded):
        scheduler.run(job(model, seconds=0.01))
    model.go.set()
    first.wait()
    scheduler.run(job(model))
    assert model.batches == [1, 1]


def test_a_job_whose_client_has_gone_costs_no_inference(make: MakeScheduler) -> None:
    model = FakeModel()
    with pytest.raises(BadRequest, match="closed the connection"):
        make().run(job(model, connected=lambda: False))
    assert model.batches == []


def test_a_broken_image_fails_alone(make: MakeScheduler) -> None:
    scheduler, model = make(batch_size=2, batch_wait=5), FakeModel()
    good, bad = job(model), job(model, b"broken")
    scheduler.submit(good)
    scheduler.submit(bad)
    assert good.wait()
    with pytest.raises(UndecodableImage):
        bad.wait()


def test_jobs_of_a_model_share_a_call_of_the_network(make: MakeScheduler) -> None:
    scheduler, model = make(batch_size=3, batch_wait=5), FakeModel()
    jobs = [job(model) for _ in range(3)]
    for each in jobs:
        scheduler.submit(each)
    for each in jobs:
        each.wait()
    assert model.batches == [3]


def group(scheduler: Scheduler, model: FakeModel, count: int, **options: Any) -> list[int]:
    """Return the batches in which a worker takes so many jobs that wait for it."""
    first = busy(scheduler, model)
    # From the one that comes first the worker learns how long an image takes.
    jobs = [job(FakeModel(seconds=model.seconds)), *(job(model, **options) for _ in range(count))]
    for each in jobs:
        scheduler.submit(each)
    model.batches.clear()
    model.go.set()
    for each in (first, *jobs):
        each.wait()
    return model.batches


def test_quick_jobs_that_wait_are_taken_together(make: MakeScheduler) -> None:
    assert group(make(queue_size=16), FakeModel(), GROUP + 1) == [GROUP, 1]


def test_slow_jobs_do_not_wait_for_each_other(make: MakeScheduler) -> None:
    assert group(make(), FakeModel(seconds=GROUP_SECONDS * 0.6), 3) == [1, 1, 1]


def test_of_images_that_are_shown_one_is_in_memory(make: MakeScheduler) -> None:
    assert group(make(), FakeModel(), 3, quality=KEEP_IMAGE) == [1, 1, 1]


def test_a_batch_size_that_was_set_is_kept_to(make: MakeScheduler) -> None:
    assert group(make(batch_size=1), FakeModel(), 3) == [1, 1, 1]


def test_workers_that_rest_share_what_comes(make: MakeScheduler) -> None:
    scheduler, model = make(workers=2), FakeModel()
    for _ in range(4):  # so that both know how long one takes
        scheduler.run(job(model))
        assert model.entered.acquire(timeout=10)
    model.go.clear()
    jobs = [job(model) for _ in range(4)]
    for each in jobs:
        scheduler.submit(each)
    assert model.entered.acquire(timeout=10)
    assert model.entered.acquire(timeout=10)
    model.go.set()
    for each in jobs:
        each.wait()
    assert max(model.batches) <= 3


def test_jobs_with_other_thresholds_or_models_are_not_mixed(make: MakeScheduler) -> None:
    scheduler, first, second = make(batch_size=4, batch_wait=0.01), FakeModel(), FakeModel()
    jobs = [job(first), job(second), job(first, thresholds=Thresholds(0.9))]
    for each in jobs:
        scheduler.submit(each)
    scores = [each.wait().detections.scores[0].item() for each in jobs]
    assert scores == pytest.approx([0.25, 0.25, 0.9])
    assert (sorted(first.batches), second.batches) == ([1, 1], [1])


def test_a_batch_that_does_not_fill_goes_after_its_wait(make: MakeScheduler) -> None:
    assert make(batch_size=8, batch_wait=0.05).run(job(FakeModel())).detections


def test_several_workers_compute_at_once(make: MakeScheduler) -> None:
    scheduler, model = make(workers=2), FakeModel()
    busy(scheduler, model)
    scheduler.submit(second := job(model))
    assert model.entered.acquire(timeout=10)
    model.go.set()
    assert second.wait()


def test_an_unexpected_error_reaches_the_request_and_the_worker_lives_on(
    make: MakeScheduler,
) -> None:
    scheduler = make()
    with pytest.raises(ZeroDivisionError):
        scheduler.run(job(FakeModel(error=ZeroDivisionError())))
    assert scheduler.run(job(FakeModel()))


def test_closing_refuses_what_waits_and_what_comes(make: MakeScheduler) -> None:
    scheduler, model = make(), FakeModel()
    first = busy(scheduler, model)
    scheduler.submit(waiting := job(model))
    threading.Timer(0.05, model.go.set).start()
    assert scheduler.close(timeout=10)
    with pytest.raises(ShuttingDown):
        waiting.wait()
    with pytest.raises(ShuttingDown):
        scheduler.submit(job(model))
    assert first.wait()
