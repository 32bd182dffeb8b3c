"""Images in a bucket of S3, listed page by page and read ahead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import PurePosixPath
from threading import Event

from yolo_service import s3, s3_objects
from yolo_service.errors import ConfigurationError, InputError, StoreError
from yolo_service.inputs.item import Input, Item
from yolo_service.inputs.listing import SUFFIXES, count_images
from yolo_service.inputs.object_item import ObjectItem, is_called_video
from yolo_service.inputs.options import InputOptions
from yolo_service.s3 import Place
from yolo_service.s3_objects import Listed
from yolo_service.threads import DaemonExecutor

AHEAD = 16
"""Objects that are read, or in memory, before they are taken."""
THREADS = 8
STOP_SECONDS = 0.2
CLOSE_SECONDS = 1.0


def open_input(address: str, options: InputOptions) -> Input:
    """Open an object, or all below a prefix.

    Raises:
        ConfigurationError: the address or the credentials are wrong, the bucket does not exist.
    """
    if options.move_to:
        raise ConfigurationError(
            f"--move-input: objects of {address} are moved to an address such as s3://bucket/done, "
            f"not to {options.move_to}"
        )
    place, target = s3.parse(address), options.move_to_store
    return Bucket(place, options, s3.parse(target) if target else None)


class Bucket:
    """An ``Input``: the images below a prefix, by their keys, or one object."""

    def __init__(self, place: Place, options: InputOptions, move_to: Place | None = None) -> None:
        """Look whether the store answers.

        Args:
            place: the object, or the beginning of keys up to a ``/``.
            options: say what happens to the objects.
            move_to: prefix for those that are done.

        Raises:
            ConfigurationError: objects would be written over the images.
            StoreError: it does not, or refuses.
        """
        self._move_to = s3.below(move_to) if move_to else None
        self._options = options
        self._stopped = Event()
        first = next(s3_objects.list_objects(place), None)
        self._is_one = first is not None and first.key == place.key  # it comes before longer ones
        self._place = place if self._is_one else s3.below(place)
        self._ignored = tuple(self._written())
        self._seen: dict[str, str] = {}
        self._threads = DaemonExecutor("s3-read", THREADS)

    def __iter__(self) -> Iterator[Item]:
        while not self._is_over():
            try:
                yield from self._each()
            except StoreError as error:
                raise InputError(str(error)) from error
            if not self._options.watch:
                return
            self._stopped.wait(self._options.poll)

    def count(self) -> int | None:
        """Count the objects; None if new ones are waited for, or a video is among them."""
        if self._options.watch:
            return None
        return count_images(listed.key for listed in self._list())

    def stop(self) -> None:
        """Yield no more items."""
        self._stopped.set()

    def close(self) -> None:
        """Read no more."""
        self._stopped.set()
        self._threads.close(time.monotonic() + CLOSE_SECONDS)

    def _each(self) -> Iterator[Item]:
        """Yield the items of one listing, each when it is read."""
        reading: deque[tuple[Listed, Future[bytes]]] = deque()
        for listed in self._new():
            reading.append((listed, self._threads.submit(self._read, listed)))
            if len(reading) == AHEAD:
                yield from self._item(*reading.popleft())
        while reading:
            yield from self._item(*reading.popleft())

    def _new(self) -> Iterator[Listed]:
        """Yield what was not there, or was another one, in the last listing."""
        before, now = self._seen, dict[str, str]()
        for listed in self._list():
            if self._is_over():
                return
            if self._options.watch:
                now[listed.key] = listed.tag
                if before.get(listed.key) == listed.tag:
                    continue
            yield listed
        self._seen = now

    def _list(self) -> Iterator[Listed]:
        return filter(self._is_wanted, s3_objects.list_objects(self._place))

    def _is_wanted(self, listed: Listed) -> bool:
        if self._is_one:
            return listed.key == self._place.key
        is_image = PurePosixPath(listed.key).suffix.lower() in SUFFIXES
        return is_image and not f"{listed.key}/".startswith(self._ignored)

    def _written(self) -> Iterator[str]:
        """Yield prefixes below that of the images below which this run writes."""
        options = self._options
        images = s3.below(_parent(self._place) if self._is_one else self._place)
        with_images = (options.drawn_to_store, options.move_to_store)
        for address in (*with_images, *options.ignored_addresses):
            if not address or not s3.is_s3(address):
                continue
            place = s3.below(s3.parse(address))
            if place in (images, s3.below(self._place)):
                if address in with_images:
                    raise ConfigurationError(
                        f"{address} is where the images are; choose another prefix"
                    )
            elif str(place).startswith(str(images)):
                yield place.key

    def _read(self, listed: Listed) -> bytes:
        """Read an image; one that is too large, or for which it is too late, is not read."""
        is_read = self._options.reads and not self._is_large(listed)
        if self._stopped.is_set() or not is_read:
            return b""
        return s3_objects.read(self._place._replace(key=listed.key))

    def _item(self, listed: Listed, reading: Future[bytes]) -> Iterator[Item]:
        """Wait for an object, and yield its item; nothing if the input is stopped meanwhile."""
        while not wait([reading], STOP_SECONDS).done:
            if self._is_over():
                return
        if self._is_over():
            return
        data, problem = self._result(listed, reading)
        place = self._place._replace(key=listed.key)
        name = self._named(listed.key)
        target = self._move_to and self._move_to._replace(key=self._move_to.key + name)
        yield ObjectItem(
            name,
            str(place),
            data=data,
            problem=problem,
            options=self._options,
            place=place,
            target=target,
        )

    def _named(self, key: str) -> str:
        """Return the name of an object among those of all sources."""
        if not self._options.is_alone:
            return f"{self._place.bucket}/{_name(key, self._place._replace(key=''))}"
        return PurePosixPath(key).name if self._is_one else _name(key, self._place)

    def _result(self, listed: Listed, reading: Future[bytes]) -> tuple[bytes, str]:
        """Return the bytes of an object, and what is wrong with it."""
        limit = self._options.max_bytes
        if listed.size > limit and not is_called_video(listed.key):
            return b"", f"has {listed.size} bytes, more than {limit}; set YOLO_MAX_UPLOAD_MB"
        try:
            return reading.result(), ""
        except StoreError as error:
            if not s3_objects.is_missing(error):
                raise
            return b"", str(error)

    def _is_large(self, listed: Listed) -> bool:
        return listed.size > self._options.max_bytes or is_called_video(listed.key)

    def _is_over(self) -> bool:
        return self._options.is_over(self._stopped)


def _parent(place: Place) -> Place:
    return place._replace(key=place.key.rpartition("/")[0])


_PARTS = {"": "%", ".": "%2E", "..": "%2E%2E"}
"""Parts of keys that paths cannot have."""


def _name(key: str, below: Place) -> str:
    return "/".join(_PARTS.get(part, part) for part in key.removeprefix(below.key).split("/"))
