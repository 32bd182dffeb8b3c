"""The runner with the real predictor, between an input and an output in memory."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from darknet.errors import InferenceError
from tests.support.fakes import GREY, FakeEngine
from tests.support.input_suite import png
from tests.support.pipelines import FakeInput, FakeOutput, broken
from tests.support.predictors import MakePredictor, eventually
from yolo_service.errors import InputError, ItemError, ModelUnavailable, OutputError
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options, Predictor
from yolo_service.results import FLUSH_ITEMS, Progress

SECONDS = 20


@pytest.fixture
def predictor(make_predictor: MakePredictor) -> Predictor:
    return make_predictor(workers=2, queue_seconds=float("inf"))


def images(count: int) -> dict[str, bytes]:
    return {f"{i:03}.png": png(i) for i in range(count)}


def pipeline(
    source: FakeInput, predictor: Predictor, output: FakeOutput, **more: object
) -> Pipeline:
    return Pipeline(source, predictor, output, Options(threshold=0.5), **more)  # type: ignore[arg-type]


def test_every_item_is_answered_in_order_and_acknowledged(predictor: Predictor) -> None:
    source, output = FakeInput(images(100)), FakeOutput()
    progress = pipeline(source, predictor, output).run()
    assert progress == Progress(done=100)
    assert list(output.results) == list(source.images)
    assert output.results["000.png"] == ["dog"]
    assert source.ended == dict.fromkeys(source.images, "done")
    assert output.ends == ["closed"]


def test_decoded_images_are_items_too(predictor: Predictor) -> None:
    source, output = FakeInput({"frame 1": np.zeros((8, 16, 3), np.uint8)}), FakeOutput()
    assert pipeline(source, predictor, output).run().done == 1


def test_an_item_that_fails_does_not_stop_the_others(predictor: Predictor) -> None:
    source = FakeInput({"a": broken(), "b": b"no image", "c": OSError(5, "disk"), "d": png()})
    output = FakeOutput()
    progress = pipeline(source, predictor, output).run()
    assert progress == Progress(done=1, failed=3)
    assert source.ended["a"] == "failed: cannot be read: it is broken"
    assert "no image of a known format" in source.ended["b"]
    assert source.ended["c"] == "failed: cannot be read: disk"
    assert source.ended["d"] == "done"
    assert output.results["a"] == "cannot be read: it is broken"


def test_an_item_that_cannot_be_encoded_fails(predictor: Predictor) -> None:
    source = FakeInput(images(3))
    output = FakeOutput(fails_at="001.png", encode_error=ItemError("its name is too long"))
    assert pipeline(source, predictor, output).run() == Progress(done=2, failed=1)


def test_an_engine_that_fails_ends_the_run_and_no_item(
    predictor: Predictor, engine: FakeEngine
) -> None:
    """Otherwise a GPU that is lost at night would have every input put aside."""
    engine.error = InferenceError("the GPU is lost")
    source, output = FakeInput(images(50)), FakeOutput()
    with pytest.raises(ModelUnavailable, match="GPU is lost"):
        pipeline(source, predictor, output).run()
    assert source.ended == {}
    assert output.ends == ["aborted"]


@pytest.mark.parametrize("kind", ["error", "encode_error"])
def test_an_output_that_fails_ends_the_run_and_acknowledges_only_what_is_written(
    predictor: Predictor, kind: str
) -> None:
    source = FakeInput(images(200))
    output = FakeOutput(fails_at="100.png", **{kind: OutputError("the disk is full")})  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="disk is full"):
        pipeline(source, predictor, output).run()
    assert source.ended == dict.fromkeys(output.results, "done")
    assert set(output.results) < set(images(100))


def test_an_input_that_fails_loses_nothing_that_it_has_yielded(predictor: Predictor) -> None:
    source, output = FakeInput(images(10), error=InputError("the server is gone")), FakeOutput()
    with pytest.raises(InputError):
        pipeline(source, predictor, output).run()
    assert len(output.results) == 10
    assert source.ended == dict.fromkeys(source.images, "done")


def test_results_are_written_while_the_input_waits(predictor: Predictor) -> None:
    source, output = FakeInput(images(3), waits=True), FakeOutput()
    running = pipeline(source, predictor, output)
    thread = threading.Thread(target=running.run)
    thread.start()
    eventually(lambda: len(output.results) == 3)
    assert source.ended == dict.fromkeys(source.images, "done")
    running.stop()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert output.ends == ["closed"]


def test_stopping_finishes_what_is_begun(predictor: Predictor, engine: FakeEngine) -> None:
    engine.go.clear()
    source, output = FakeInput(images(500)), FakeOutput()
    running = pipeline(source, predictor, output)
    thread = threading.Thread(target=running.run)
    thread.start()
    assert engine.entered.acquire(timeout=SECONDS)
    running.stop()
    engine.go.set()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert 0 < source.taken < 500
    assert len(source.ended) == source.taken == len(output.results)


def test_never_are_more_items_begun_than_the_predictor_keeps_busy(
    predictor: Predictor, engine: FakeEngine
) -> None:
    engine.go.clear()
    source, output = FakeInput(images(500)), FakeOutput()
    thread = threading.Thread(target=pipeline(source, predictor, output).run)
    thread.start()
    eventually(lambda: source.taken == predictor.items_ahead)
    time.sleep(0.05)
    assert source.taken == predictor.items_ahead
    engine.go.set()
    thread.join(SECONDS)
    assert len(output.results) == 500
    assert output.largest <= FLUSH_ITEMS


def test_resuming_skips_what_has_a_result(predictor: Predictor) -> None:
    source, output = FakeInput(images(4)), FakeOutput(earlier={"001.png", "002.png"})
    progress = pipeline(source, predictor, output, resume=True).run()
    assert progress == Progress(done=2, skipped=2)
    assert set(output.results) == {"000.png", "003.png"}
    assert source.ended == dict.fromkeys(source.images, "done")


def test_without_it_only_what_an_earlier_process_has_taken_is_skipped(
    predictor: Predictor,
) -> None:
    source = FakeInput(images(3), taken_at={"001.png": time.time(), "002.png": time.time()})
    output = FakeOutput(earlier={"000.png", "001.png"})
    assert pipeline(source, predictor, output).run() == Progress(done=2, skipped=1)
    assert set(output.results) == {"000.png", "002.png"}


def test_a_limit_ends_the_run(predictor: Predictor) -> None:
    source, output = FakeInput(images(9)), FakeOutput()
    assert pipeline(source, predictor, output, limit=4).run().done == 4
    assert list(output.results) == list(source.images)[:4]
    assert source.taken == 4


def test_an_output_may_acknowledge_everything_at_its_end(predictor: Predictor) -> None:
    source, output = FakeInput(images(100)), FakeOutput(only_at_end=True)
    numbers: list[int] = []
    running = pipeline(source, predictor, output, ended=lambda now: numbers.append(now.total))
    assert running.run().done == 100
    assert numbers == list(range(1, 101))
    assert len(source.ended) == 100


def test_the_image_is_kept_for_an_output_that_needs_it(predictor: Predictor) -> None:
    class Keeping(FakeOutput):
        def encode(self, item: object, answer: object) -> list[str]:
            return [str(answer.image.shape)]  # type: ignore[attr-defined]

    output = Keeping(needs_image=True)
    pipeline(FakeInput({"a": GREY}), predictor, output).run()
    assert output.results == {"a": [str(GREY.shape)]}
