"""Folders as inputs, read once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_service.inputs.file_item import FileItem, abandoned_item, file_item
from yolo_service.inputs.item import Item
from yolo_service.inputs.listing import Listed, list_images
from yolo_service.inputs.options import InputOptions


class Folders:
    """An ``Input``: the images that are in folders and their sub-folders now.

    Args:
        folders: each with what precedes the names of its items: nothing, or a path that ends
            with ``/``.
        options: what happens to the files.
    """

    def __init__(self, folders: Sequence[tuple[Path, str]], options: InputOptions) -> None:
        self._folders, self._options = folders, options
        places = (options.move_to, options.failed_to, options.drawn_to, *options.ignored)
        self._ignored = frozenset(place.resolve() for place in places if place)
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        for listed in self._list():
            if self._stopped.is_set():
                return
            if item := self._item(listed):
                yield item

    def count(self) -> int | None:
        """Count the files, without keeping their names."""
        return sum(1 for listed in self._list() if not listed.is_claimed)

    def stop(self) -> None:
        """Yield no more items."""
        self._stopped.set()

    def close(self) -> None:
        """Do nothing: items hold their own files."""

    def _list(self) -> Iterator[Listed]:
        for folder, prefix in self._folders:
            for listed in list_images(folder, self._ignored):
                yield listed._replace(name=prefix + listed.name)

    def _item(self, listed: Listed) -> FileItem | None:
        if listed.is_claimed:
            return self._abandoned(listed)
        return file_item(
            listed.path, listed.name, self._options, has_unique_stem=listed.has_unique_stem
        )

    def _abandoned(self, listed: Listed) -> FileItem | None:
        """Take over what another process has left, if this one takes files away too."""
        if not self._options.takes_away:
            return None
        return abandoned_item(listed.path, listed.name, self._options)
