"""Folders as inputs, watched for ever.

They are listed again and again: network shares and the mounted volumes of containers tell nobody
what is new. A file is complete when its size and time are the same in two listings and it has the
end that its format prescribes; until then it is waited for, however long that takes.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_service.images.end_marker import is_whole
from yolo_service.inputs.file_item import FileItem, file_item
from yolo_service.inputs.folder import Folders
from yolo_service.inputs.item import Item
from yolo_service.inputs.listing import Listed
from yolo_service.inputs.options import InputOptions
from yolo_service.videos.content import SUFFIXES as VIDEO_SUFFIXES

log = logging.getLogger(__name__)

LOG_SECONDS = 60.0
"""How often incomplete files are logged."""

Signature = tuple[int, int]
"""Size in bytes and time in ns of a file; while it is written, one of them changes."""


class WatchedFolders(Folders):
    """An endless ``Input``: the images in folders, each when it is complete.

    A file that stays in its folder is taken again when it changes.
    """

    def __init__(self, folders: Sequence[tuple[Path, str]], options: InputOptions) -> None:
        super().__init__(folders, options)
        self._seen: dict[str, Signature] = {}
        self._handled: dict[str, Signature] = {}
        self._incomplete: list[str] = []
        self._logged_at = time.monotonic()

    def __iter__(self) -> Iterator[Item]:
        while not self._is_over():
            yield from self._poll()
            self._stopped.wait(self._options.poll)

    def count(self) -> int | None:
        """Return None: nobody knows."""
        return None

    def close(self) -> None:
        """Log which files are not complete."""
        self._log_incomplete()

    def _is_over(self) -> bool:
        return self._options.is_over(self._stopped)

    def _poll(self) -> Iterator[Item]:
        before, self._seen = self._seen, {}
        handled = set(self._handled)
        incomplete: list[str] = []
        for listed in self._list():
            if self._is_over():
                return  # what the last whole listing has found incomplete is logged
            if listed.is_claimed:
                item = self._abandoned(listed)
            else:
                item = self._rested(listed, before, incomplete)
            if item:
                yield item
        self._incomplete = incomplete
        for gone in handled - self._seen.keys():
            self._handled.pop(gone, None)
        if time.monotonic() - self._logged_at > LOG_SECONDS:
            self._log_incomplete()

    def _rested(
        self, listed: Listed, before: dict[str, Signature], incomplete: list[str]
    ) -> FileItem | None:
        """Return the item of a file that is complete; None if it is not, or was taken before."""
        key, signature = str(listed.path), _signature(listed.path)
        if signature is None:
            return None
        self._seen[key] = signature
        if before.get(key) != signature or self._handled.get(key) == signature:
            return None
        if listed.path.suffix.lower() in VIDEO_SUFFIXES:  # too large for the memory, without an end
            return self._taken(listed, key, signature, None)
        try:
            data = listed.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            data = None  # reading the item raises it again
        if data is not None and not is_whole(data):
            incomplete.append(key)
            return None
        return self._taken(listed, key, signature, data)

    def _taken(
        self, listed: Listed, key: str, signature: Signature, data: bytes | None
    ) -> FileItem | None:
        stays = functools.partial(self._handled.__setitem__, key, signature)
        item = file_item(listed.path, listed.name, self._options, data=data, stays=stays)
        if item and _signature(item.place) != signature:  # it was replaced since it was read
            item.release()
            return None
        stays()
        return item

    def _log_incomplete(self) -> None:
        self._logged_at = time.monotonic()
        if self._incomplete:
            log.warning(
                "%d files are not complete and are waited for, %s among them",
                len(self._incomplete),
                self._incomplete[0],
            )


def _signature(path: Path) -> Signature | None:
    """Return the signature of a file; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
