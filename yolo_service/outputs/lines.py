"""One file, or standard output, to which rows are added as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from yolo_service.errors import ConfigurationError, OutputError
from yolo_service.inputs.item import Item
from yolo_service.locks import Lock
from yolo_service.outputs.output import Acknowledge, StaysWhenPut
from yolo_service.outputs.rows import Rows
from yolo_service.predictor.answer import Answer
from yolo_service.s3 import Place


class Stream(StaysWhenPut):
    """An ``Output``: rows on standard output."""

    needs_image = needs_sha256 = False

    def __init__(self, rows: Rows, stream: IO[bytes] | None = None) -> None:
        self._rows, self._stream = rows, stream or sys.stdout.buffer
        self._header, self._number = rows.header, 0

    def has(self, _: Item) -> bool:
        """Return False: what is written is gone."""
        return False

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Make the rows of an item."""
        return self._rows.encode(item, answer)

    def put(self, _: Item, encoded: list[bytes], acknowledge: Acknowledge) -> None:
        """Write rows; nobody waits for them in a buffer.

        Raises:
            OutputError: the stream is closed.
        """
        self._number += 1
        self._write(b"".join(self._rows.numbered(encoded, self._number)))
        acknowledge()

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Write that an item has failed, if the rows have a place for it."""
        self._write(b"".join(self._rows.error(item, error)))
        acknowledge()

    def flush(self) -> None:
        """Do nothing: everything is written."""

    def close(self) -> None:
        """Write the header if there was no row."""
        self._write(b"")

    def abort(self) -> None:
        """Do nothing: everything is written."""

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(self._header + data)
            self._stream.flush()
        except OSError as error:
            raise OutputError(f"standard output cannot be written to: {error}") from error
        self._header = b""


class Lines(StaysWhenPut):
    """An ``Output``: a file to which rows are added; synced to the disk when it is flushed."""

    needs_image = needs_sha256 = False

    def __init__(self, path: Path, rows: Rows, *, resume: bool) -> None:
        """Open a new file, or one to add to.

        Raises:
            ConfigurationError: the file exists.
            OutputError: it cannot be written to, or another process writes to it.
        """
        self._path, self._rows = path, rows
        self._keys: set[str] = set()
        self._waiting: list[Acknowledge] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._found_at = path.stat().st_mtime if path.exists() else 0.0
            self._file = path.open("r+b" if resume and path.exists() else "xb", buffering=0)
            with closed_by_error(self._file):
                self._lock = lock(path)
                if not self._lock.is_on(path) or not _is_at(self._file, path):
                    raise being_written(path)
            self._number = self._read_back() if resume else 0
            if not self._file.seek(0, os.SEEK_END):
                self._write(rows.header)
        except FileExistsError as error:
            raise exists(path) from error
        except OSError as error:
            raise self._broken(error) from error

    def has(self, item: Item) -> bool:
        """Look for an item among those of the file when it was opened."""
        return item.owns_result_of(self._found_at) and self._rows.key(item) in self._keys

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Make the rows of an item."""
        return self._rows.encode(item, answer)

    def put(self, _: Item, encoded: list[bytes], acknowledge: Acknowledge) -> None:
        """Add rows.

        Raises:
            OutputError: the disk is full.
        """
        self._number += 1
        self._add(self._rows.numbered(encoded, self._number), acknowledge)

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Add that an item has failed, if the rows have a place for it."""
        self._add(self._rows.error(item, error), acknowledge)

    def flush(self) -> None:
        """Sync the file to the disk.

        Raises:
            OutputError: that is not possible.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._broken(error) from error
        waiting, self._waiting = self._waiting, []
        for acknowledge in waiting:
            acknowledge()

    def close(self) -> None:
        """Sync and close the file."""
        self.flush()
        self.abort()

    def abort(self) -> None:
        """Close the file; whole rows that are in it stay."""
        self._file.close()
        self._lock.release()

    def _add(self, rows: list[bytes], acknowledge: Acknowledge) -> None:
        try:
            self._write(b"".join(rows))
        except OSError as error:
            raise self._broken(error) from error
        self._waiting.append(acknowledge)

    def _write(self, data: bytes) -> None:
        """Write all or nothing: a row that is cut off would swallow the next one.

        A process that is killed while it writes leaves the beginning of what it writes. That one
        row is not whole can be seen. Several begin with NUL until the last one is there.
        """
        start, are_several = self._file.tell(), data.count(b"\n") > 1
        rest = memoryview(b"\0" + data[1:] if are_several else data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            if are_several:
                self._file.seek(start)
                self._file.write(data[:1])
                self._file.seek(0, os.SEEK_END)
        except OSError:
            self._file.truncate(start)
            raise

    def _read_back(self) -> int:
        """Read what has a result, and cut off what is not whole; returns how many have one."""
        row, end = b"", 0
        with self._path.open("rb") as file:
            for line in file:
                row += line
                if row.startswith(b"\0"):
                    break
                if self._rows.is_whole(row):
                    end += len(row)
                    if key := self._rows.key_of(row):
                        self._keys.add(key)
                    row = b""
        if row:
            self._file.truncate(end)
        return len(self._keys)

    def _broken(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path} cannot be written to: {error}")


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Return whether a path is still the file that was opened."""
    return os.path.samestat(os.fstat(file.fileno()), path.stat())


@contextmanager
def closed_by_error(file: IO[bytes]) -> Iterator[None]:
    """Close a file if the block fails."""
    try:
        yield
    except BaseException:
        file.close()
        raise


def lock(path: Path) -> Lock:
    """Lock a file that one process alone may write to.

    Raises:
        OutputError: another one does.
    """
    if taken := Lock.take(path):
        return taken
    raise being_written(path)


def being_written(path: Path | Place) -> OutputError:
    """Return the error for a file that another process writes."""
    return OutputError(f"{path} is being written by another process; choose another file")


def exists(path: Path | Place) -> ConfigurationError:
    """Return the error for a file, or an object, that would be overwritten."""
    return ConfigurationError(f"{path} exists; remove it, or continue it with --resume")
