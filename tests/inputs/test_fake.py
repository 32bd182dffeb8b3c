"""The input in memory is an ``Input`` like the others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.input_suite import InputSuite, Source
from tests.support.pipelines import FakeInput
from yolo_service.inputs import Input


class Memory:
    keeps = forgets = True
    waits = False

    def fill(self, images: Mapping[str, bytes]) -> None:
        self._images, self._ended = dict(images), dict[str, str]()

    def open(self) -> Input:
        return FakeInput(self._images, ended=self._ended)


class TestFakeInput(InputSuite):
    @pytest.fixture
    def source(self) -> Source:
        return Memory()
