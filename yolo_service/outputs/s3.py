"""Results in a bucket of S3: an object for each item below a prefix, or one object."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future

from yolo_service import s3, s3_objects
from yolo_service.errors import OutputError, StoreError
from yolo_service.inputs.aside import ERROR_SUFFIX
from yolo_service.inputs.item import Item
from yolo_service.outputs.contents import Content, content
from yolo_service.outputs.files import is_called_file
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.output import Acknowledge, Output, StaysWhenPut
from yolo_service.outputs.s3_file import S3File
from yolo_service.predictor.answer import Answer
from yolo_service.s3 import Place
from yolo_service.threads import DaemonExecutor
from yolo_service.whole_files import suffixed

THREADS = 8
AHEAD = 32
"""Objects that are written at once, or wait for that."""


def open_output(address: str, options: OutputOptions) -> Output:
    """Open a prefix, or by its suffix one object for all items.

    Raises:
        ConfigurationError: the address or the credentials are wrong, the bucket does not exist,
            the object exists, or the format does not fit it.
    """
    if is_called_file(address) and not options.draw:
        return S3File(s3.parse(address), options)
    return S3Output(s3.parse(address), content(options), options)


class S3Output(StaysWhenPut):
    """An ``Output``: an object for each item; stores show an object when all of it is there.

    Several are written at once, and acknowledged in order.
    """

    needs_sha256 = False

    def __init__(self, place: Place, files: Content, options: OutputOptions) -> None:
        """List what is there, or look whether the store answers.

        Raises:
            StoreError: it does not, or refuses.
        """
        self._prefix = s3.below(place)
        self._content, self._keeps_errors = files, not options.draw
        found = s3_objects.list_objects(self._prefix)
        next(found, None)
        earlier = s3_objects.list_objects(self._prefix) if options.resume else ()
        self._keys = frozenset(listed.key for listed in earlier)
        self._threads = DaemonExecutor("s3-write", THREADS)
        self._writing: deque[tuple[Future[None], Acknowledge]] = deque()

    @property
    def needs_image(self) -> bool:
        """Whether images are drawn on."""
        return self._content.needs_image

    def has(self, item: Item) -> bool:
        """Look for the object of an item: among those there were, or by when it was written.

        Raises:
            OutputError: the store refuses, or does not answer.
        """
        place = self._place(self._content.name(item))
        if item.taken_at is None:
            return place.key in self._keys
        try:
            written = s3_objects.written_at(place)
        except StoreError as error:
            raise OutputError(str(error)) from error
        return written is not None and item.owns_result_of(written.timestamp())

    def encode(self, item: Item, answer: Answer) -> bytes:
        """Return the contents of the object of an item."""
        return self._content.encode(item, answer)

    def put(self, item: Item, encoded: bytes, acknowledge: Acknowledge) -> None:
        """Begin to write an object; waits if many are being written.

        Raises:
            OutputError: one before cannot be written.
        """
        error = self._error(item)
        outdated = error if error.key in self._keys else None
        self._begin(self._place(self._content.name(item)), encoded, acknowledge, outdated)

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Begin to write an object with the error, beside where the result would be.

        Raises:
            OutputError: one before cannot be written.
        """
        if not self._keeps_errors:
            acknowledge()
            return
        text = f"{item.origin}: {error}\n".encode(errors="replace")
        self._begin(self._error(item), text, acknowledge)

    def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            OutputError: something cannot be written.
        """
        while self._writing:
            self._end()

    def close(self) -> None:
        """Wait until everything is written."""
        self.flush()
        self.abort()

    def abort(self) -> None:
        """Acknowledge nothing more."""
        self._writing.clear()
        self._threads.close(time.monotonic())

    def _begin(
        self, place: Place, data: bytes, acknowledge: Acknowledge, outdated: Place | None = None
    ) -> None:
        while len(self._writing) >= AHEAD or (self._writing and self._writing[0][0].done()):
            self._end()
        self._writing.append((self._threads.submit(_write, place, data, outdated), acknowledge))

    def _end(self) -> None:
        """Wait for the oldest object, and acknowledge it."""
        future, acknowledge = self._writing.popleft()
        try:
            future.result()
        except StoreError as error:
            raise OutputError(str(error)) from error
        acknowledge()

    def _place(self, name: str) -> Place:
        return self._prefix._replace(key=self._prefix.key + name)

    def _error(self, item: Item) -> Place:
        return self._place(suffixed(item.name, ERROR_SUFFIX))


def _write(place: Place, data: bytes, outdated: Place | None) -> None:
    if outdated:  # first: a kill in between leaves an item to be tried again, not both
        s3_objects.delete(outdated)
    s3_objects.write(place, data)
