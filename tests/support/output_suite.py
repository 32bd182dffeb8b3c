"""What holds for every ``Output``: subclass ``OutputSuite`` and read the sink's results back."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pytest

from darknet.detections import Detections
from tests.support.pipelines import FakeItem, broken
from yolo_service.errors import OutputError
from yolo_service.inputs import Item
from yolo_service.outputs import Output
from yolo_service.predictor import Answer, Timings
from yolo_service.results import ResultWriter

GREY = np.full((64, 96, 3), 128, np.uint8)


def answer(name: str, *labels: str) -> Answer:
    """Return an answer of an image of 96 x 64 with one object per label, "cat" or "dog"."""
    names = ("cat", "dog")
    n = len(labels)
    boxes = np.array([[20 + 10 * i, 30, 8, 12] for i in range(n)], np.float32).reshape(n, 4)
    scores = np.linspace(0.9, 0.5, n, dtype=np.float32)
    class_ids = np.array([names.index(label) for label in labels], np.int32)
    found = Detections(boxes, scores, class_ids, names)
    timings = Timings(0.0, 1.0, 2.0, 3.0)
    return Answer("pets", "openvino", "CPU", "fp32", 96, 64, found, timings, name, GREY)


class Sink(Protocol):
    """What a test of an output provides.

    Attributes:
        remembers: whether an output that is opened with ``resume`` knows what has a result.
        shows_nothing: whether nothing tells an item without detections from none.
        keeps_errors: whether it has a place for errors.
    """

    remembers: bool
    shows_nothing: bool
    keeps_errors: bool

    def open(self, resume: bool = False) -> Output:
        """Open an output to the sink, as another process would."""

    def results(self) -> Mapping[str, list[str]]:
        """Return the labels of each result that somebody else can see now, by the item's name."""

    def errors(self) -> Mapping[str, str]:
        """Return the errors of items that somebody else can see now, by the item's name."""


class Run:
    """An output with what it has acknowledged so far."""

    def __init__(self, output: Output, sink: Sink) -> None:
        self.output, self._sink = output, sink
        self.acknowledged: list[str] = []

    def put(self, name: str, *labels: str) -> None:
        item = FakeItem(name, name)
        encoded = self.output.encode(item, answer(name, *labels))
        self.put_encoded(item, encoded, list(labels))

    def put_encoded(self, item: FakeItem, encoded: Any, labels: list[str]) -> None:
        def acknowledge() -> None:
            if labels or not self._sink.shows_nothing:
                assert self._sink.results().get(item.name) == labels, "acknowledged too early"
            self.acknowledged.append(item.name)

        self.output.put(item, encoded, acknowledge)

    def put_error(self, name: str) -> None:
        item, error = FakeItem(name, name), broken()
        self.output.put_error(item, error, lambda: self.acknowledged.append(name))


class OutputSuite:
    """The tests; each needs the fixture ``sink``."""

    RESULTS: Mapping[str, tuple[str, ...]] = {
        "a.jpg": ("cat",),
        "empty.jpg": (),
        "sub/a.jpg": ("dog", "cat"),
        "sub/a.png": ("cat", "cat"),
        'with space, "quotes" é.jpg': ("dog",),
    }

    @pytest.fixture
    def sink(self) -> Sink:
        raise NotImplementedError("return a Sink")

    def expected(self, sink: Sink) -> dict[str, list[str]]:
        return {
            name: list(labels)
            for name, labels in self.RESULTS.items()
            if labels or not sink.shows_nothing
        }

    def put_all(self, sink: Sink) -> Run:
        run = Run(sink.open(), sink)
        for name, labels in self.RESULTS.items():
            run.put(name, *labels)
        return run

    def test_every_item_has_exactly_one_result_an_empty_one_included(self, sink: Sink) -> None:
        run = self.put_all(sink)
        run.output.close()
        assert sink.results() == self.expected(sink)

    def test_every_result_is_acknowledged_once_and_not_before_it_can_be_read(
        self, sink: Sink
    ) -> None:
        run = self.put_all(sink)
        run.output.flush()
        run.output.close()
        assert sorted(run.acknowledged) == sorted(self.RESULTS)

    def test_results_may_be_encoded_by_several_threads(self, sink: Sink) -> None:
        run = Run(sink.open(), sink)
        items = [FakeItem(f"{i:03}.jpg", f"{i:03}.jpg") for i in range(40)]
        answers = [answer(item.name, "cat", "dog") for item in items]
        with ThreadPoolExecutor(8) as pool:
            encoded = list(pool.map(run.output.encode, items, answers))
        for item, each in zip(items, encoded, strict=True):
            run.put_encoded(item, each, ["cat", "dog"])
        run.output.close()
        assert sink.results() == {item.name: ["cat", "dog"] for item in items}

    def test_a_failed_item_is_acknowledged_and_has_no_result(self, sink: Sink) -> None:
        run = self.put_all(sink)
        run.put_error("broken.jpg")
        run.output.close()
        assert run.acknowledged.count("broken.jpg") == 1
        assert sink.results() == self.expected(sink)
        if sink.keeps_errors:
            assert "it is broken" in sink.errors()["broken.jpg"]

    def test_after_an_abort_nothing_more_is_acknowledged_and_no_result_is_cut_off(
        self, sink: Sink
    ) -> None:
        run = self.put_all(sink)
        before = list(run.acknowledged)
        run.output.abort()
        assert run.acknowledged == before
        expected = self.expected(sink)
        for name, labels in sink.results().items():
            assert labels == expected[name]

    def test_what_has_a_result_is_known_to_the_next_run(self, sink: Sink) -> None:
        run = self.put_all(sink)
        run.put_error("broken.jpg")
        run.output.close()
        again = sink.open(resume=sink.remembers)
        for name in self.expected(sink):
            assert again.has(FakeItem(name, name)) == sink.remembers, name
        for name in ("broken.jpg", "other.jpg", "a.jpeg"):
            assert not again.has(FakeItem(name, name)), name
        again.close()
        if sink.remembers:
            assert sink.results() == self.expected(sink)

    def test_what_a_killed_run_has_computed_ends_when_it_can_be_read(self, sink: Sink) -> None:
        run = self.put_all(sink)
        run.output.flush()
        run.output.abort()
        ended: list[str] = []

        def end(item: Item, _: str) -> None:
            assert item.name in sink.results(), "ended too early"
            ended.append(item.name)

        output = sink.open(resume=sink.remembers)
        writer = ResultWriter(output, resume=sink.remembers, ended=lambda _: None)
        known = [item for name in self.expected(sink) if output.has(item := FakeItem(name, name))]
        for item in known:
            item.ended = end
            writer.skip(item)
        output.close()
        assert ended == [item.name for item in known]
        assert len(known) == sink.remembers * len(self.expected(sink))

    def test_a_run_that_is_resumed_adds_to_the_results(self, sink: Sink) -> None:
        self.put_all(sink).output.close()
        again = Run(sink.open(resume=sink.remembers), sink)
        again.put("later.jpg", "dog")
        again.output.close()
        assert again.acknowledged == ["later.jpg"]
        if sink.remembers:
            assert sink.results() == self.expected(sink) | {"later.jpg": ["dog"]}

    def test_nothing_at_all_is_a_whole_result_too(self, sink: Sink) -> None:
        sink.open().close()
        assert sink.results() == {}

    def test_a_number_that_is_not_finite_breaks_no_result(self, sink: Sink) -> None:
        run = Run(sink.open(), sink)
        item, found = FakeItem("a.jpg", "a.jpg"), answer("a.jpg", "cat")
        boxes = np.array([[np.inf, 1, 2, 3]], np.float32)
        infinite = Detections(boxes, found.detections.scores, np.zeros(1, np.int32), ("cat",))
        encoded = run.output.encode(item, replace(found, detections=infinite))
        run.output.put(item, encoded, lambda: None)
        run.output.close()
        assert sink.results().get("a.jpg", []) in (["cat"], [])  # labels have no such boxes


def error_of(output: Output, name: str) -> OutputError:
    """Return the error of putting an item."""
    item = FakeItem(name, name)
    with pytest.raises(OutputError) as caught:
        output.put(item, output.encode(item, answer(name, "cat")), lambda: None)
    return caught.value
