"""The output in memory is an ``Output`` like the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.output_suite import OutputSuite, Sink
from tests.support.pipelines import FakeOutput
from yolo_service.outputs import Output


class Memory:
    remembers = keeps_errors = True
    shows_nothing = False

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}

    def open(self, resume: bool = False) -> Output:
        return FakeOutput(self._results, earlier=set(self.results()) if resume else set())

    def results(self) -> Mapping[str, list[str]]:
        return {name: value for name, value in self._results.items() if isinstance(value, list)}

    def errors(self) -> Mapping[str, str]:
        return {name: value for name, value in self._results.items() if isinstance(value, str)}


class TestFakeOutput(OutputSuite):
    @pytest.fixture
    def sink(self) -> Sink:
        return Memory()
