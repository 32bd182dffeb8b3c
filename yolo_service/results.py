"""The writing half of a run: puts results, acknowledges their items, counts."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from yolo_service.errors import ItemError, ServiceError
from yolo_service.inputs.item import Item
from yolo_service.outputs.output import Output

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
"""How long a result may wait until the output is flushed."""
FLUSH_ITEMS = 32
"""How many results may wait for that."""


@dataclass
class Progress:
    """Numbers of items that have ended.

    Attributes:
        done: with a result, empty ones included.
        failed: with an error.
        skipped: with a result of an earlier run.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        """All that have ended."""
        return self.done + self.failed + self.skipped


class ResultWriter:
    """Ends items, each when its result is written; all methods are for one thread.

    Args:
        output: takes the results; the caller closes it.
        resume: whether items that have a result are skipped.
        ended: called with the numbers after each item.

    Attributes:
        progress: the numbers so far.
    """

    def __init__(self, output: Output, *, resume: bool, ended: Callable[[Progress], None]) -> None:
        self._output, self._resume, self._ended = output, resume, ended
        self._open: set[Item] = set()
        self._unflushed, self._flushed_at = 0, time.monotonic()
        self.progress = Progress()

    @property
    def is_flushed(self) -> bool:
        """Whether no result waits for a flush."""
        return not self._unflushed

    def begin(self, item: Item) -> None:
        """Remember an item that has to end; called by any thread."""
        self._open.add(item)

    def has_result(self, item: Item) -> bool:
        """Return whether a result of an earlier run counts; called by any thread."""
        return (self._resume or item.taken_at is not None) and self._output.has(item)

    def skip(self, item: Item) -> None:
        """End an item that has a result of an earlier run."""
        item.computed()
        self._output.keep(item, functools.partial(self._end, item, "skipped", item.done))

    def put(self, item: Item, encoded: Future[Any]) -> None:
        """Wait for what ``Output.encode`` returns or raises, and put it.

        Raises:
            PipelineError: the output failed, or the input cannot end the item.
            ServiceError: the error is not of this item, every other one would have it.
            DarknetError: likewise.
        """
        self._unflushed += 1
        try:
            result = encoded.result()
        except Exception as error:
            if not is_of_item(error):
                raise
            fail = functools.partial(item.failed, error)
            self._output.put_error(item, error, functools.partial(self._end, item, "failed", fail))
        else:
            item.computed()
            self._output.put(item, result, functools.partial(self._end, item, "done", item.done))

    def flush_sometimes(self) -> None:
        """Flush if enough results wait, or one waits long enough."""
        waited = time.monotonic() - self._flushed_at
        if self._unflushed >= FLUSH_ITEMS or (self._unflushed and waited > FLUSH_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Flush the output."""
        self._output.flush()
        self._unflushed, self._flushed_at = 0, time.monotonic()

    def release(self) -> None:
        """Give back the items that have not ended."""
        for item in list(self._open):
            try:
                item.release()
            except OSError as error:
                log.warning("%s cannot be given back: %s", item.origin, error)

    def _end(self, item: Item, count: str, acknowledge: Callable[[], None]) -> None:
        acknowledge()
        self._open.discard(item)
        setattr(self.progress, count, getattr(self.progress, count) + 1)
        self._ended(self.progress)


def is_of_item(error: Exception) -> bool:
    """Return whether an error is the fault of one item; else every item would have it."""
    return isinstance(error, ItemError) or (isinstance(error, ServiceError) and error.status < 500)
