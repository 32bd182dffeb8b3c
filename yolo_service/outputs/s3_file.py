"""One object of S3 with the results of all items: a file, uploaded when it is complete."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import platformdirs

from yolo_service import s3_objects
from yolo_service.errors import ConfigurationError, OutputError, StoreError
from yolo_service.inputs.item import Item
from yolo_service.locks import Lock
from yolo_service.outputs.files import open_path
from yolo_service.outputs.lines import being_written, exists
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.output import Acknowledge, Output
from yolo_service.predictor.answer import Answer
from yolo_service.s3 import Place, endpoint

_BEGUN = ".begun"
"""A file with the time of the object that a run has begun with."""
_CLOCK_SECONDS = 1.0
"""How coarse the times of objects are: a result may be so much younger than its object's time."""


class _Folder:
    """A folder for the file of an object, the same for each run of this user.

    Attributes:
        path: of the folder.
    """

    def __init__(self, place: Place) -> None:
        """Make the folder, and lock it.

        Raises:
            OutputError: another process has locked it.
        """
        name = hashlib.sha256(f"{endpoint() or ''} {place}".encode()).hexdigest()[:32]
        cache = platformdirs.user_cache_path("yolo-service", appauthor=False) / "s3"
        self._is_temporary = False
        try:
            self.path = cache / name
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_owner()
        except OSError:  # a container whose file system is read-only
            self.path = Path(tempfile.mkdtemp(prefix="yolo-service-"))
            self._is_temporary = True
        lock = Lock.take(self.path)
        if lock is None:
            raise being_written(place)
        self._lock = lock

    def _check_owner(self) -> None:
        """Check that no other user can write here.

        Raises:
            PermissionError: one can.
        """
        found = self.path.stat()
        is_own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        if not is_own or found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "belongs to others", str(self.path))

    def is_of(self, written: datetime | None) -> bool:
        """Return whether a killed run began here with the object as it is now."""
        try:
            return (self.path / _BEGUN).read_text(encoding="utf-8") == str(written)
        except OSError:
            return False

    def clear(self) -> None:
        """Remove what a killed run has left."""
        (self.path / _BEGUN).unlink(missing_ok=True)  # first: it vouches for the other files
        for path in self.path.iterdir():
            path.unlink()

    def begin(self, written: datetime | None) -> None:
        """Remember with which object this run begins, when all of that is here."""
        (self.path / _BEGUN).write_text(str(written), encoding="utf-8")

    def release(self) -> None:
        """Leave the folder to another run."""
        if self._is_temporary:
            self.remove()
        else:
            self._lock.release()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


class S3File:
    """An ``Output``: one object, which appears at the end of a run; then all is acknowledged.

    Until then it is a file in the user's cache, or where there is none in a temporary folder. What
    a killed run leaves in the cache is continued with ``resume`` unless the object has changed
    since.
    """

    def __init__(self, place: Place, options: OutputOptions) -> None:
        """Begin a file, with what the object has if it is continued.

        Raises:
            ConfigurationError: the object exists, the store refuses, or the format does not fit.
            OutputError: the file cannot be written, or another process writes it.
        """
        self._place = place
        self._waiting: list[Acknowledge] = []
        written = s3_objects.written_at(place)
        if written and not options.resume:
            raise exists(place)
        with _as_output_error():
            self._folder = _Folder(place)
        self._path = self._folder.path / PurePosixPath(place.key).name
        try:
            with self._named(), _as_output_error():
                is_continued = options.resume and self._folder.is_of(written)
                if not is_continued:
                    self._folder.clear()
                    if written:
                        s3_objects.read_file(place, self._path)
                        until = written.timestamp() + _CLOCK_SECONDS
                        os.utime(self._path, (until, until))
                    self._folder.begin(written)
                self._file: Output = open_path(str(self._path), options)
        except BaseException:
            self._folder.release()
            raise

    @property
    def needs_image(self) -> bool:
        """Whether the file does."""
        return self._file.needs_image

    @property
    def needs_sha256(self) -> bool:
        """Whether the file does."""
        return self._file.needs_sha256

    def has(self, item: Item) -> bool:
        """Look for an item among those of the object when it was read."""
        return self._file.has(item)

    def encode(self, item: Item, answer: Answer) -> Any:
        """Encode for the file."""
        return self._file.encode(item, answer)

    def put(self, item: Item, encoded: Any, acknowledge: Acknowledge) -> None:
        """Add to the file.

        Raises:
            OutputError: the disk is full.
        """
        with self._named():
            self._file.put(item, encoded, functools.partial(self._waiting.append, acknowledge))

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Add that an item has failed, if the file has a place for it."""
        with self._named():
            wait = functools.partial(self._waiting.append, acknowledge)
            self._file.put_error(item, error, wait)

    def keep(self, item: Item, acknowledge: Acknowledge) -> None:  # noqa: ARG002
        """Wait for the end: so far only a file of this machine has the result."""
        self._waiting.append(acknowledge)

    def flush(self) -> None:
        """Sync the file to the disk; the object appears at the end.

        Raises:
            OutputError: that is not possible.
        """
        with self._named():
            self._file.flush()

    def close(self) -> None:
        """Complete the file, upload it, and acknowledge all.

        Raises:
            OutputError: the disk is full, or the store refuses or does not answer.
        """
        with self._named(), _as_output_error():
            self._file.close()
            s3_objects.write_file(self._place, self._path)
        self._folder.remove()
        for acknowledge in self._waiting:
            acknowledge()

    def abort(self) -> None:
        """Leave the object as it was, and the file for a run that continues it."""
        self._file.abort()
        self._folder.release()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let errors name the object rather than the temporary file."""
        try:
            yield
        except (ConfigurationError, OutputError) as error:
            text = str(error).replace(str(self._path), str(self._place))
            raise type(error)(text) from error


@contextmanager
def _as_output_error() -> Iterator[None]:
    try:
        yield
    except (StoreError, OSError) as error:
        raise OutputError(str(error)) from error
