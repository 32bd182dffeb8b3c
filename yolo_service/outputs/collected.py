"""One file that appears when it is complete. Until then a journal beside it has the results."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import orjson

from yolo_service.errors import ConfigurationError, OutputError
from yolo_service.inputs.item import Item
from yolo_service.locks import Lock
from yolo_service.outputs.lines import Lines, being_written, exists
from yolo_service.outputs.output import Acknowledge
from yolo_service.outputs.rows import OneLineRows
from yolo_service.predictor.answer import Answer
from yolo_service.whole_files import hidden_beside, publish, suffixed, sync_folder


class ItemRows(NamedTuple):
    """What the file gets of one item: rows as JSON documents; of an error, it may be none."""

    key: str
    rows: list[bytes]
    is_error: bool = False


class FileFormat(Protocol):
    """A kind of file that cannot be added to: it is written, and read back, as a whole."""

    @property
    def name(self) -> str:
        """Return what tells it from others: a journal of one kind is no journal of another."""

    def key(self, item: Item) -> str:
        """Return what the rows of an item are called by."""

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return the rows of an answer."""

    def error(self, item: Item, error: Exception) -> list[bytes]:
        """Return the rows of an item that has failed; none if the file has no place for it."""

    def write(self, path: Path, items: Iterable[ItemRows]) -> None:
        """Write the file.

        Raises:
            OSError: that is not possible.
        """

    def read(self, path: Path) -> Iterable[ItemRows]:
        """Yield the items of a file, those that have failed too.

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

    def __init__(self, path: Path, form: FileFormat, *, resume: bool) -> None:
        """Begin the journal, with what the file has if there is one.

        Raises:
            ConfigurationError: the file exists, or cannot be continued.
            OutputError: it cannot be written to, or another process writes it.
        """
        self._path, self._format = path, form
        self._waiting: list[Acknowledge] = []
        self._journal_path = path.with_name(suffixed(f".{path.name}", ".journal"))
        if path.exists() and not resume:
            raise exists(path)
        try:
            self._prepare(resume=resume)
        except OSError as error:
            raise self._broken(error) from error
        self._journal = Lines(self._journal_path, _JournalRows(form), resume=True)

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

    def keep(self, item: Item, acknowledge: Acknowledge) -> None:  # noqa: ARG002
        """Wait for the end: so far only the journal has the result."""
        self._waiting.append(acknowledge)

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
            self._format.write(hidden, self._items())
            with self._journal_path.open("ab") as journal:  # tells of a kill before it is removed
                journal.write(self._origin(hidden))
            publish(hidden, self._path)
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
        """Make a journal that can be added to: that of a killed run, or one of the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._journal_path.touch()
        lock = Lock.take(self._journal_path)
        if not lock or not lock.is_on(self._journal_path):
            raise being_written(self._path)
        try:
            with self._journal_path.open("r+b") as file:
                first, last = file.readline(), _last_line(file)
                if resume and first.startswith(b"[") and last != self._origin(self._path):
                    self._check_origin(first)
                else:
                    self._begin(file)
        finally:
            lock.release()

    def _check_origin(self, first: bytes) -> None:
        """Check that a journal was begun with the file as it is, in this format.

        Raises:
            ConfigurationError: it was not.
        """
        if first != self._origin(self._path):
            raise ConfigurationError(
                f"{self._journal_path} was left by a run with another --format or another "
                f"{self._path.name}; remove it to begin anew"
            )

    def _begin(self, file: BinaryIO) -> None:
        """Write a journal of the file, whose first byte says that it is complete."""
        origin = self._origin(self._path)
        file.seek(0)
        file.truncate()
        file.write(b"\0" + origin[1:])
        found = self._path.stat() if self._path.exists() else None
        if found:
            self._copy(file)
        file.seek(0)
        file.write(origin[:1])
        file.flush()
        if found:  # that is when its results were written
            os.utime(self._journal_path, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _copy(self, journal: BinaryIO) -> None:
        try:
            journal.writelines(map(_line, self._format.read(self._path)))
        except (ValueError, TypeError) as error:
            self._journal_path.unlink()
            raise ConfigurationError(
                f"{self._path} cannot be continued: {error}; remove it"
            ) from error

    def _origin(self, path: Path) -> bytes:
        """Return a line with the format and a file: the one that a journal continues.

        A journal begins with it. It ends with such a line when all of it is in the file.
        """
        found = path.stat() if path.exists() else None
        version = f"{found.st_mtime_ns} {found.st_size}" if found else None
        return orjson.dumps([self._format.name, version], option=orjson.OPT_APPEND_NEWLINE)

    def _items(self) -> Iterator[ItemRows]:
        """Yield what the file gets: an error only of an item without a result, and the last."""
        errors = {item.key: item for item in _read(self._journal_path) if item.is_error}
        if errors:
            for item in _read(self._journal_path):
                if not item.is_error:
                    errors.pop(item.key, None)
        for item in _read(self._journal_path):
            if not item.is_error:
                yield item
            elif item.key in errors:
                yield errors.pop(item.key)

    def _broken(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path} cannot be written to: {error}")


class _JournalRows(OneLineRows):
    """``Rows`` of a journal: a line per item."""

    def __init__(self, form: FileFormat) -> None:
        self._format = form

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        return [_line(ItemRows(self.key(item), self._format.encode(item, answer)))]

    def error(self, item: Item, error: Exception) -> list[bytes]:
        return [_line(ItemRows(self.key(item), self._format.error(item, error), is_error=True))]

    def key(self, item: Item) -> str:
        return self._format.key(item)

    def key_of(self, row: bytes) -> str | None:
        item = _item(row)
        return None if item is None or item.is_error else item.key


def _line(item: ItemRows) -> bytes:
    rows = [orjson.Fragment(row.rstrip(b"\n")) for row in item.rows]
    return orjson.dumps([item.key, rows, item.is_error], option=orjson.OPT_APPEND_NEWLINE)


def _item(line: bytes) -> ItemRows | None:
    """Read a line; None: it has no item, but a file."""
    try:
        key, *rest = orjson.loads(line)
        if len(rest) == 1:
            return None
        rows, is_error = rest
        return ItemRows(key, [orjson.dumps(row) for row in rows], is_error)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            "the journal of a killed run is damaged; remove the hidden file that ends with .journal"
        ) from error


def _last_line(file: BinaryIO) -> bytes:
    """Return the last line of a file, without its beginning if it is long."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
    return (file.read().splitlines(keepends=True) or [b""])[-1]


def _read(path: Path) -> Iterator[ItemRows]:
    with path.open("rb") as file:
        yield from filter(None, map(_item, file))
