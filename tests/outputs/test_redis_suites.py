"""Lists, streams and channels of Redis are outputs like any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.support.output_suite import OutputSuite, Sink
from tests.support.redis_server import RedisServer
from yolo_service.outputs import Output
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions


class OnServer:
    remembers = shows_nothing = False
    keeps_errors = True

    def __init__(self, server: RedisServer, query: str, messages: Callable[[], list[bytes]]):
        self._address, self._messages = f"{server.address}?{query}", messages

    def open(self, resume: bool = False) -> Output:
        return open_output(self._address, OutputOptions())

    def results(self) -> Mapping[str, list[str]]:
        return {
            each["meta"]["name"]: [one["label"] for one in each["objects"]]
            for each in self._documents()
            if "error" not in each["meta"]
        }

    def errors(self) -> Mapping[str, str]:
        metas = [each["meta"] for each in self._documents() if not each["objects"]]
        return {meta["name"]: meta["error"] for meta in metas if "error" in meta}

    def _documents(self) -> list[Any]:
        documents = [json.loads(message) for message in self._messages()]
        names = [each["meta"]["name"] for each in documents]
        assert len(set(names)) == len(names)
        return documents


class TestList(OutputSuite):
    @pytest.fixture
    def sink(self, redis_server: RedisServer) -> Sink:
        client = redis_server.client()
        return OnServer(redis_server, "list=out", lambda: client.lrange("out", 0, -1))


class TestStream(OutputSuite):
    @pytest.fixture
    def sink(self, redis_server: RedisServer) -> Sink:
        client = redis_server.client()

        def messages() -> list[bytes]:
            return [fields[b"result"] for _, fields in client.xrange("out")]

        return OnServer(redis_server, "stream=out&maxlen=1000", messages)


class TestChannel(OutputSuite):
    @pytest.fixture
    def sink(self, redis_server: RedisServer) -> Iterator[Sink]:
        subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("out")
        assert subscriber.get_message(timeout=10) is None
        found: list[bytes] = []

        def messages() -> list[bytes]:
            client = redis_server.client()
            client.publish("out", b"end")
            for message in subscriber.listen():
                if message["data"] == b"end":
                    return found
                found.append(message["data"])
            return found

        yield OnServer(redis_server, "channel=out", messages)
        subscriber.close()
