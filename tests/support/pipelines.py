"""An input and an output in memory, which remember how every item ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from yolo_service.errors import ItemError
from yolo_service.inputs import Item
from yolo_service.outputs import Acknowledge
from yolo_service.predictor import Answer, Image

Ended = Callable[[Item, str], None]


@dataclass(eq=False)
class FakeItem(Item):
    """An item whose image is in memory; an exception instead of an image is raised by ``read``."""

    image: Image | Exception = b""
    ended: Ended = lambda item, how: None

    def read(self) -> Image:
        if isinstance(self.image, Exception):
            raise self.image
        return self.image

    def done(self) -> None:
        self.ended(self, "done")

    def failed(self, error: Exception) -> None:
        self.ended(self, f"failed: {error}")

    def release(self) -> None:
        self.ended(self, "released")


@dataclass
class FakeInput:
    """An ``Input`` of images in memory.

    Attributes:
        images: images, or the exceptions that reading them raises, by name.
        waits: whether it waits for ``stop`` after the last one.
        error: raised after the last one.
        taken_at: names that an earlier process has taken, and when.
        ended: how each item ended, by name, in order; an item that ended twice is an error.
        taken: how many were yielded.
    """

    images: Mapping[str, Image | Exception]
    waits: bool = False
    error: Exception | None = None
    taken_at: Mapping[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    taken: int = 0
    is_closed: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[Item]:
        for name, image in self.images.items():
            if self.stopped.is_set():
                return
            if name not in self.ended:
                self.taken += 1
                yield FakeItem(
                    name, f"fake {name}", self.taken_at.get(name), image=image, ended=self._end
                )
        if self.waits:
            self.stopped.wait()
        if self.error:
            raise self.error

    def count(self) -> int | None:
        return None if self.waits else len(self.images)

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.is_closed = True

    def _end(self, item: Item, how: str) -> None:
        assert item.name not in self.ended, f"{item.name} ended twice"
        if how != "released":
            self.ended[item.name] = how


@dataclass
class FakeOutput:
    """An ``Output`` in memory; results are durable when they are flushed, or at the end.

    Attributes:
        results: of each item: its labels, or its error.
        earlier: names that have a result of an earlier run.
        only_at_end: whether ``flush`` makes nothing durable.
        error: raised by ``put`` for the item of ``fails_at``.
        encode_error: raised by ``encode``, likewise.
        largest: most results that were not durable at once.
    """

    results: dict[str, list[str] | str] = field(default_factory=dict)
    earlier: set[str] = field(default_factory=set)
    only_at_end: bool = False
    needs_image: bool = False
    needs_sha256: bool = False
    fails_at: str = ""
    error: Exception | None = None
    encode_error: Exception | None = None
    largest: int = 0
    ends: list[str] = field(default_factory=list)
    _waiting: list[tuple[str, Any, Acknowledge]] = field(default_factory=list)

    def has(self, item: Item) -> bool:
        return item.name in self.earlier

    def encode(self, item: Item, answer: Answer) -> list[str]:
        if self.encode_error and item.name == self.fails_at:
            raise self.encode_error
        return answer.detections.labels

    def put(self, item: Item, encoded: Any, acknowledge: Acknowledge) -> None:
        if self.error and item.name == self.fails_at:
            raise self.error
        self._waiting.append((item.name, encoded, acknowledge))
        self.largest = max(self.largest, len(self._waiting))

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        self.put(item, str(error), acknowledge)

    def keep(self, _: Item, acknowledge: Acknowledge) -> None:
        acknowledge()

    def flush(self) -> None:
        if not self.only_at_end:
            self._write()

    def close(self) -> None:
        self._write()
        self.ends.append("closed")

    def abort(self) -> None:
        self._waiting.clear()
        self.ends.append("aborted")

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        for name, encoded, acknowledge in waiting:
            assert name not in self.results, f"{name} has two results"
            self.results[name] = encoded
            acknowledge()


def broken(_: object = None) -> ItemError:
    """Return an error as an input raises it for one item."""
    return ItemError("cannot be read: it is broken")
