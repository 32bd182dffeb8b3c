"""An image or a video in an object of S3, and what happens to it when the item has ended."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from yolo_service import s3_objects
from yolo_service.errors import InputError, ItemError, StoreError
from yolo_service.inputs.aside import put_file_aside
from yolo_service.inputs.message import Message
from yolo_service.s3 import Place
from yolo_service.videos.content import HEAD_BYTES, SUFFIXES, is_video

log = logging.getLogger(__name__)


def is_called_video(key: str) -> bool:
    """Return whether an object is a video by its suffix: it may be too large for the memory."""
    return PurePosixPath(key).suffix.lower() in SUFFIXES


@dataclass(eq=False, kw_only=True)
class ObjectItem(Message):
    """An object of a bucket.

    Attributes:
        place: of the object.
        target: where it is moved to when it is done; None: it stays, or is deleted.
    """

    place: Place
    target: Place | None = None
    _video: Path | None = field(default=None, init=False)

    @property
    def address(self) -> str | None:
        """The address of the object."""
        return None if self.problem else str(self.place)

    def video_file(self) -> Path | None:
        """Download a video into a temporary file.

        Raises:
            InputError: the store refuses, or does not answer.
        """
        if self.problem or not (
            is_called_video(self.place.key) or is_video(self.data[:HEAD_BYTES], self.name)
        ):
            return None
        descriptor, name = tempfile.mkstemp(prefix="yolo-service-", suffix=".video")
        os.close(descriptor)
        self._video, self.data = Path(name), b""
        try:
            s3_objects.read_file(self.place, self._video)
        except (StoreError, OSError) as error:
            self._remove()
            if not isinstance(error, StoreError) or not s3_objects.is_missing(error):
                raise InputError(f"{self.place} cannot be read: {error}") from error
            self.problem = str(error)
        return self._video

    def computed(self) -> None:
        """Forget the bytes: they are kept for the folder of failed images only."""
        self.data = b""

    def done(self) -> None:
        """Move or delete the object, if that was asked for."""
        self._remove()
        try:
            if self.target:
                s3_objects.move(self.place, self.target)
            elif self.options.delete:
                s3_objects.delete(self.place)
        except StoreError as error:
            raise InputError(f"{error}; it has ended, but cannot be moved or deleted") from error

    def failed(self, error: Exception) -> None:
        """Write the image or the video into the folder for failed ones, if there is one."""
        if self._video and self.options.failed_to:
            problem = f"{self.origin}: {error}"
            put_file_aside(self.options.failed_to, self.name, self._video, problem)
        elif not self._video:
            self._fetch_for_failed()
            super().failed(error)
        self._remove()

    def release(self) -> None:
        """Remove the temporary file."""
        self._remove()

    def _fetch_for_failed(self) -> None:
        """Read an image that another machine has read, if it will be written.

        One that is too large, or gone, leaves an empty file beside its error.
        """
        if self.options.reads or self.problem or not self.keeps_data:
            return
        try:
            self.data = s3_objects.read(self.place, self.options.max_bytes)
        except ItemError as error:
            log.warning("%s: %s; it is not copied", self.place, error)
        except StoreError as error:
            if not s3_objects.is_missing(error):
                raise InputError(f"{error}; it has failed, and cannot be copied") from error

    def _remove(self) -> None:
        if self._video:
            self._video.unlink(missing_ok=True)
            self._video = None
