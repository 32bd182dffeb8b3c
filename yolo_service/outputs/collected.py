"""One file that appears when it is complete. Until then a journal beside it has the results."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from yolo_service.errors import ConfigurationError, OutputError
from yolo_service.inputs.item import Item
from yolo_service.locks import Lock
from yolo_service.outputs.lines import Lines, being_written, exists
from yolo_service.outputs.output import Acknowledge
from yolo_service.predictor.answer import Answer
from yolo_service.whole_files import hidden_beside, suffixed, sync_folder


class Collected(NamedTuple):
    """What the file gets of one item: rows as JSON documents; of an error, it may be none."""

    key: str
    rows: list[bytes]
    is_error: bool = False


class Whole(Protocol):
    """A kind of file that cannot be added to: it is written, and read back, as a whole."""

    def key(self, item: Item) -> str:
        """Return what the rows of an item are called by."""

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return the rows of an answer."""

    def error(self, item: Item, error: Exception) -> list[bytes]:
        """Return the rows of an item that has failed; none if the file has no place for it."""

    def write(self, path: Path, items: Iterable[Collected]) -> None:
        """Write the file.

        Raises:
            OSError: that is not possible.
        """

    def read(self, path: Path) -> Iterable[Collected]:
        """Yield what has a result in a file.

        Raises:
            ValueError: it is no such file.
            OSError: it cannot be read.
        """


class CollectedFile:
    """An ``Output``: a file that appears when it is complete; then all is acknowledged.

    The journal has a line for each item and is synced like other lines. What a killed run leaves of
    it is continued with ``resume``, else replaced.
    """

    needs_image = needs_sha256 = False

    def __init__(self, path: Path, whole: Whole, *, resume: bool) -> None:
        """Begin the journal, with what the file has if there is one.

        Raises:
            ConfigurationError: the file exists, or cannot be continued.
            OutputError: it cannot be written to, or another process writes it.
        """
        self._path, self._whole = path, whole
        self._waiting: list[Acknowledge] = []
        self._journal_path = path.with_name(suffixed(f".{path.name}", ".journal"))
        if path.exists() and not resume:
            raise exists(path)
        try:
            self._prepare(resume=resume)
        except OSError as error:
            raise self._broken(error) from error
        self._journal = Lines(self._journal_path, _JournalRows(whole), resume=resume)

    def has(self, item: Item) -> bool:
        """Look for an item among those of the journal when it was opened."""
        return self._journal.has(item)

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Make the line of an item."""
        return self._journal.encode(item, answer)

    def put(self, item: Item, encoded: list[bytes], acknowledge: Acknowledge) -> None:
        """Add to the journal.

        Raises:
            OutputError: the disk is full.
        """
        self._journal.put(item, encoded, functools.partial(self._waiting.append, acknowledge))

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Add that an item has failed."""
        self._journal.put_error(item, error, functools.partial(self._waiting.append, acknowledge))

    def flush(self) -> None:
        """Sync the journal to the disk."""
        self._journal.flush()

    def close(self) -> None:
        """Write the file, remove the journal, and acknowledge all.

        Raises:
            OutputError: the disk is full.
        """
        self._journal.flush()
        hidden = hidden_beside(self._path)
        try:
            self._whole.write(hidden, self._items())
            with hidden.open("rb") as file:
                os.fsync(file.fileno())
            hidden.replace(self._path)
            self._journal_path.unlink()
            sync_folder(self._path.parent)
        except OSError as error:
            hidden.unlink(missing_ok=True)
            raise self._broken(error) from error
        finally:
            self._journal.abort()
        for acknowledge in self._waiting:
            acknowledge()

    def abort(self) -> None:
        """Leave the file as it was, and the journal for a run that continues it."""
        self._journal.abort()

    def _prepare(self, *, resume: bool) -> None:
        """Remove what a killed run has left, or write a journal of the file that is continued."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._journal_path.exists() and not resume:
            if not (lock := Lock.take(self._journal_path)):
                raise being_written(self._path)
            self._journal_path.unlink()
            lock.release()
        if not self._journal_path.exists() and self._path.exists():
            self._begin_journal()

    def _begin_journal(self) -> None:
        """Write a journal of the file, with its time: that is when its results were written."""
        found = self._path.stat()
        hidden = hidden_beside(self._journal_path)
        try:
            with hidden.open("wb") as file:
                file.writelines(map(_line, self._whole.read(self._path)))
        except ValueError as error:
            hidden.unlink()
            raise ConfigurationError(f"{self._path} is no file of results; remove it") from error
        os.utime(hidden, ns=(found.st_atime_ns, found.st_mtime_ns))
        hidden.replace(self._journal_path)

    def _items(self) -> Iterator[Collected]:
        """Yield what the file gets: of an item that was tried again the last that came of it."""
        failed = set[str]()
        for item in _read(self._journal_path):
            (failed.add if item.is_error else failed.discard)(item.key)
        for item in _read(self._journal_path):
            if not item.is_error:
                yield item
            elif item.key in failed:
                failed.discard(item.key)
                yield item

    def _broken(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path} cannot be written to: {error}")


class _JournalRows:
    """``Rows`` of a journal: a line per item."""

    header = b""

    def __init__(self, whole: Whole) -> None:
        self._whole = whole

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        return [_line(Collected(self.key(item), self._whole.encode(item, answer)))]

    def error(self, item: Item, error: Exception) -> list[bytes]:
        return [_line(Collected(self.key(item), self._whole.error(item, error), is_error=True))]

    def numbered(self, rows: list[bytes], number: int) -> list[bytes]:  # noqa: ARG002
        return rows

    def key(self, item: Item) -> str:
        return self._whole.key(item)

    def is_whole(self, row: bytes) -> bool:
        return row.endswith(b"\n")

    def key_of(self, row: bytes) -> str | None:
        item = _collected(row)
        return None if item.is_error else item.key


def _line(item: Collected) -> bytes:
    rows = [orjson.Fragment(row.rstrip(b"\n")) for row in item.rows]
    return orjson.dumps([item.key, rows, item.is_error], option=orjson.OPT_APPEND_NEWLINE)


def _collected(line: bytes) -> Collected:
    key, rows, is_error = orjson.loads(line)
    return Collected(key, [orjson.dumps(row) for row in rows], is_error)


def _read(path: Path) -> Iterator[Collected]:
    with path.open("rb") as file:
        yield from map(_collected, file)
