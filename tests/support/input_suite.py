"""What holds for every ``Input``: subclass ``InputSuite`` and fill a source with images.

::

    class TestFolder(InputSuite):
        @pytest.fixture
        def source(self, tmp_path): return FolderSource(tmp_path)
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import cv2
import numpy as np
import pytest

from yolo_service.errors import ItemError
from yolo_service.inputs import Input, Item

SECONDS = 20


def png(seed: int = 0) -> bytes:
    """Return a small PNG, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


class Source(Protocol):
    """What a test of an input provides.

    Attributes:
        keeps: whether items that have not ended are yielded again by the next input.
        forgets: whether items that are done are not.
        waits: whether its input waits for more items when there are none.
    """

    keeps: bool
    forgets: bool
    waits: bool

    def fill(self, images: Mapping[str, bytes]) -> None:
        """Put images into the source under relative names."""

    def open(self) -> Input:
        """Open an input of the source, as another process would."""


def take(source: Input, count: int) -> list[Item]:
    """Take items; fails if they do not come."""
    timer = threading.Timer(SECONDS, source.stop)
    timer.start()
    items = list(itertools.islice(source, count))
    timer.cancel()
    return items


class InputSuite:
    """The tests; each needs the fixture ``source``."""

    NAMES = ("a.png", "b.png", "sub/a.png", "with space é.png")

    @pytest.fixture
    def source(self) -> Source:
        raise NotImplementedError("return a Source")

    @pytest.fixture
    def images(self, source: Source) -> Mapping[str, bytes]:
        images = {name: png(i) for i, name in enumerate(self.NAMES)}
        source.fill(images)
        return images

    @pytest.fixture
    def opened(self, source: Source, images: Mapping[str, bytes]) -> Iterator[Input]:
        opened = source.open()
        yield opened
        opened.stop()
        opened.close()

    def test_every_image_is_yielded_once_with_its_own_content(
        self, opened: Input, images: Mapping[str, bytes]
    ) -> None:
        found = take(opened, len(images))
        assert sorted(bytes(item.read()) for item in found) == sorted(images.values())

    def test_names_are_relative_paths_and_differ(
        self, opened: Input, images: Mapping[str, bytes]
    ) -> None:
        names = [item.name for item in take(opened, len(images))]
        assert len(set(names)) == len(images)
        for name in names:
            assert name
            assert not {"", ".", ".."} & set(name.split("/")), name

    def test_it_ends_when_there_is_nothing_more_or_when_it_is_stopped(
        self, opened: Input, images: Mapping[str, bytes], source: Source
    ) -> None:
        began = time.monotonic()
        items = iter(opened)
        for _ in images:
            next(items)
        if source.waits:
            threading.Timer(0.2, opened.stop).start()
        assert next(items, None) is None
        assert time.monotonic() - began < SECONDS

    def test_stopped_before_it_begins_it_yields_nothing(self, opened: Input) -> None:
        opened.stop()
        assert list(opened) == []

    def test_closing_twice_does_no_harm(self, opened: Input) -> None:
        opened.close()
        opened.close()

    def test_items_end_in_any_order_while_others_are_taken(
        self, opened: Input, images: Mapping[str, bytes]
    ) -> None:
        items = iter(opened)
        first, second = next(items), next(items)
        for item in (first, second):
            item.read()
        second.done()
        third = next(items)
        third.failed(ItemError("it is broken"))
        first.done()
        next(items).release()

    def test_what_is_done_is_yielded_again_only_by_a_source_that_remembers_nothing(
        self, opened: Input, images: Mapping[str, bytes], source: Source
    ) -> None:
        items = take(opened, len(images))
        contents = {item.name: bytes(item.read()) for item in items}
        for item in items[:2]:
            item.done()
        for item in items[2:]:
            item.release()
        opened.stop()
        opened.close()
        again = source.open()
        expected = items[2:] if source.forgets else items
        left = take(again, len(expected))
        assert {bytes(item.read()) for item in left} == {contents[item.name] for item in expected}
        for item in left:
            item.release()
        again.stop()
        again.close()

    def test_what_was_released_is_yielded_again(
        self, opened: Input, images: Mapping[str, bytes], source: Source
    ) -> None:
        for item in take(opened, len(images)):
            item.release()
        opened.stop()
        opened.close()
        again = source.open()
        expected = sorted(images.values()) if source.keeps else []
        items = take(again, len(expected))
        assert sorted(bytes(item.read()) for item in items) == expected
        assert all(item.taken_at is None for item in items)
        again.stop()
        again.close()
