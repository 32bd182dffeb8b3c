"""A prefix of S3 as a place for files."""

from __future__ import annotations

import shutil
import tempfile
from functools import cached_property
from pathlib import Path

from yolo_service import s3, s3_objects
from yolo_service.errors import OutputError, StoreError
from yolo_service.s3 import Place


def open_place(address: str) -> S3Place:
    """Open a prefix.

    Raises:
        ConfigurationError: the address or the credentials are wrong.
        StoreError: the store refuses, or does not answer.
    """
    return S3Place(s3.parse(address))


class S3Place:
    """A ``FilePlace``: files are written into a temporary folder, and uploaded when they are put.

    Args:
        place: the prefix, with or without a ``/`` at its end.
    """

    def __init__(self, place: Place) -> None:
        self._prefix = s3.below(place)
        next(s3_objects.list_objects(self._prefix), None)
        self._known: tuple[str, float | None] | None = None

    def path(self, name: str) -> Path:
        """Return a path in the temporary folder."""
        return self._folder / name

    def put(self, name: str) -> None:
        """Upload a file, in parts if it is large.

        Raises:
            OutputError: the store refuses, or does not answer.
        """
        path = self.path(name)
        try:
            s3_objects.write_file(self._object(name), path)
        except (StoreError, OSError) as error:
            raise OutputError(str(error)) from error
        finally:
            path.unlink(missing_ok=True)
            self._known = None

    def written_at(self, name: str) -> float | None:
        """Return when an object was written, which is asked once for the frames of a video.

        Raises:
            OutputError: the store refuses, or does not answer.
        """
        known = self._known  # another thread puts
        if known is None or known[0] != name:
            try:
                found = s3_objects.written_at(self._object(name))
            except StoreError as error:
                raise OutputError(str(error)) from error
            self._known = known = name, found.timestamp() if found else None
        return known[1]

    def close(self) -> None:
        """Remove the temporary folder."""
        if "_folder" in vars(self):
            shutil.rmtree(self._folder, ignore_errors=True)

    @cached_property
    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="yolo-service-"))

    def _object(self, name: str) -> Place:
        return self._prefix._replace(key=self._prefix.key + name)
