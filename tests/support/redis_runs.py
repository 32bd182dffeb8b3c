"""Pipelines between places of Redis, in this process, and what is sent and received."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from prometheus_client import REGISTRY

from tests.support.redis_server import RedisServer
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options, Predictor

SECONDS = 60
LARGE = 300_000
RATE = 120e6
"""Bytes in a second, twice as many as a network of a gigabit brings."""


class Running:
    """A pipeline between two places of a server, in a thread."""

    def __init__(self, server: RedisServer, predictor: Predictor, source: str, sink: str) -> None:
        self.source = open_input([f"{server.address}?{source}"], InputOptions())
        output = open_output(f"{server.address}?{sink}", OutputOptions())
        self.pipeline = Pipeline(self.source, predictor, output, Options(threshold=0.5))
        self._thread = threading.Thread(target=self.pipeline.run)
        self._thread.start()

    def end(self) -> None:
        self.pipeline.stop()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        self.source.close()


@contextmanager
def running(server: RedisServer, predictor: Predictor, source: str, sink: str) -> Iterator[Running]:
    run = Running(server, predictor, source, sink)
    try:
        yield run
    finally:
        run.end()


class Listener:
    """Collects what is published on a channel, in a thread."""

    def __init__(self, server: RedisServer, channel: str) -> None:
        self.documents: list[Any] = []
        self._subscriber = server.client().pubsub(ignore_subscribe_messages=True)
        self._subscriber.subscribe(channel)
        self._subscriber.get_message(timeout=10)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            if message := self._subscriber.get_message(timeout=0.1):
                self.documents.append(json.loads(message["data"]))

    def end(self) -> None:
        self._stopped.set()
        self._thread.join(SECONDS)
        self._subscriber.close()


@contextmanager
def listener(server: RedisServer, channel: str) -> Iterator[Listener]:
    listening = Listener(server, channel)
    try:
        yield listening
    finally:
        listening.end()


def large(seed: int) -> bytes:
    """Return a JPEG of 300 kB, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (300, 400, 3), np.uint8)
    data = bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    assert len(data) < LARGE
    return data + bytes(LARGE - len(data))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ids_of_subscribers(client: Any) -> set[str]:
    """Return the numbers of connections; one that was cut off has another one afterwards."""
    return {each["id"] for each in client.client_list(_type="pubsub")}


def holds(client: Any, kind: str, pid: int) -> bool:
    """Return whether a process has taken images that are not acknowledged."""
    if kind == "list":
        return any(client.llen(key) for key in client.keys(f"in:taken:*-{pid}-*"))
    consumers = client.xinfo_consumers("in", "yolo-service")
    return any(each["pending"] for each in consumers if b"-%d-" % pid in each["name"])


def lost() -> float:
    return REGISTRY.get_sample_value("yolo_input_lost_total") or 0.0
