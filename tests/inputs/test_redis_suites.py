"""Lists, streams and channels of Redis are inputs like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.support.input_suite import InputSuite, Source
from tests.support.redis_server import RedisServer
from yolo_service.inputs import Input
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions

DEFAULT = InputOptions()


@dataclass
class OnServer:
    server: RedisServer
    query: str
    options: InputOptions = DEFAULT
    keeps: bool = True
    forgets: bool = True
    waits: bool = True

    def open(self) -> Input:
        return open_input([f"{self.server.address}?{self.query}"], self.options)


class InList(OnServer):
    def fill(self, images: Mapping[str, bytes]) -> None:
        self.server.client().rpush("in", *images.values())


class InStream(OnServer):
    def fill(self, images: Mapping[str, bytes]) -> None:
        for name, image in images.items():
            self.server.client().xadd("in", {"name": name, "image": image})


class OnChannel(OnServer):
    def fill(self, images: Mapping[str, bytes]) -> None:
        self._images = images

    def open(self) -> Input:
        opened = super().open()
        for image in self._images.values():
            self.server.client().publish("in", image)
        return opened


class TestList(InputSuite):
    @pytest.fixture
    def source(self, redis_server: RedisServer) -> Source:
        return InList(redis_server, "list=in")


class TestStream(InputSuite):
    @pytest.fixture(params=[False, True], ids=["stays", "deleted"])
    def source(self, redis_server: RedisServer, request: pytest.FixtureRequest) -> Source:
        return InStream(redis_server, "stream=in&group=g", InputOptions(delete=request.param))


class TestChannel(InputSuite):
    @pytest.fixture
    def source(self, redis_server: RedisServer) -> Source:
        return OnChannel(redis_server, "channel=in", keeps=False, forgets=False)
