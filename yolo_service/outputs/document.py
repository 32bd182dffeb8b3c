"""One JSON file with a list: COCO's results, AlexeyAB's, and lists of other formats."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import orjson

from yolo_service.errors import ConfigurationError, OutputError
from yolo_service.inputs.item import Item
from yolo_service.outputs.lines import exists, lock
from yolo_service.outputs.output import Acknowledge
from yolo_service.outputs.rows import Rows
from yolo_service.predictor.answer import Answer
from yolo_service.whole_files import hidden_beside, sync_folder


class HiddenFile:
    """A file that is written under a hidden name and gets its own when it is complete.

    The hidden name is always the same, so that a later run replaces what a killed one has left.

    Args:
        path: its own name.
        resume: whether it may exist.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Make the hidden file.

        Raises:
            ConfigurationError: the file exists.
            OutputError: it cannot be written, or another process writes it.
        """
        self.path, self.hidden = path, hidden_beside(path)
        if path.exists() and not resume:
            raise exists(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.hidden.touch()
            self._lock = lock(self.hidden)
        except OSError as error:
            raise self.broken(error) from error

    def publish(self, acknowledgements: Iterable[Acknowledge]) -> None:
        """Sync the hidden file to the disk, give it its name, and acknowledge what is in it.

        Raises:
            OutputError: that is not possible.
        """
        try:
            with self.hidden.open("rb") as file:
                os.fsync(file.fileno())
            self.hidden.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self.broken(error) from error
        self._lock.release()
        for acknowledge in acknowledgements:
            acknowledge()

    def remove(self) -> None:
        """Remove the hidden file."""
        self.hidden.unlink(missing_ok=True)
        self._lock.release()

    def broken(self, error: OSError) -> OutputError:
        """Return the error of a run."""
        return OutputError(f"{self.path} cannot be written to: {error}")


class Document:
    """An ``Output``: a list in a JSON file, which appears when it is complete."""

    needs_image = needs_sha256 = False

    def __init__(self, path: Path, rows: Rows, *, resume: bool) -> None:
        """Begin the list, with that of the file if there is one.

        Raises:
            ConfigurationError: the file exists, or is no list that can be continued.
            OutputError: it cannot be written to, or another process writes to it.
        """
        self._rows = rows
        self._keys: set[str] = set()
        self._waiting: list[Acknowledge] = []
        self._number, self._separator = 0, b"[\n"
        self._found_at = path.stat().st_mtime if path.exists() else 0.0
        self._place = HiddenFile(path, resume=resume)
        try:
            self._file = self._place.hidden.open("wb")
            if path.exists():
                self._read_back(path)
        except OSError as error:
            raise self._place.broken(error) from error

    def has(self, item: Item) -> bool:
        """Look for an item among those of the file when it was opened."""
        return item.owns_result_of(self._found_at) and self._rows.key(item) in self._keys

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Make the rows of an item."""
        return self._rows.encode(item, answer)

    def put(self, _: Item, encoded: list[bytes], acknowledge: Acknowledge) -> None:
        """Add to the list.

        Raises:
            OutputError: the disk is full.
        """
        self._number += 1
        self._write(self._rows.numbered(encoded, self._number))
        self._waiting.append(acknowledge)

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Add that an item has failed, if the rows have a place for it."""
        self._write(self._rows.error(item, error))
        self._waiting.append(acknowledge)

    def flush(self) -> None:
        """Do nothing: the file appears at the end."""

    def close(self) -> None:
        """End the list, and let the file appear.

        Raises:
            OutputError: the disk is full.
        """
        try:
            self._file.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")
            self._file.close()
        except OSError as error:
            raise self._place.broken(error) from error
        self._place.publish(self._waiting)

    def abort(self) -> None:
        """Leave the file as it was."""
        self._file.close()
        self._place.remove()

    def _write(self, rows: list[bytes]) -> None:
        try:
            for row in rows:
                self._file.write(self._separator + row.rstrip(b"\n"))
                self._separator = b",\n"
        except OSError as error:
            raise self._place.broken(error) from error

    def _read_back(self, path: Path) -> None:
        try:
            entries = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError:
            entries = None
        if not isinstance(entries, list):
            self.abort()
            raise ConfigurationError(f"{path} is no list of results; remove it")
        rows = [orjson.dumps(entry) for entry in entries]
        kept = [(row, key) for row in rows if (key := self._rows.key_of(row))]
        self._keys = {key for _, key in kept}
        self._number = len(self._keys)
        self._write([row for row, _ in kept])  # what has failed is tried again
