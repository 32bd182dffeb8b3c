"""From an input through the predictor to an output, with every item acknowledged.

::

    input ──> reader thread: read, submit ──> workers: detect, encode ──┐
                                                                        │ futures, in order
    item.done() or failed() <── acknowledge <── output.put() <── run() <┘

There are never more than ``ahead`` items between the input and the output, whatever the length of
the input. An error of an item fails that item; any other error ends the run, and the items whose
result is not written are given back.
"""

from __future__ import annotations

import functools
import hashlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple

from yolo_service.errors import ItemError
from yolo_service.inputs.item import Input, Item
from yolo_service.outputs.output import Output
from yolo_service.predictor import Answer, Image, Options, Predictor
from yolo_service.results import FLUSH_SECONDS, Progress, ResultWriter
from yolo_service.threads import failed

JOIN_SECONDS = 5.0
"""How long the end of a run waits for an input that was stopped."""


class _Begun(NamedTuple):
    """An item and the future of what the output encoded; None: the output has its result."""

    item: Item
    future: Future[Any] | None


class Pipeline:
    """One run over an input; ``run`` is called once.

    Args:
        source: the input; the caller closes it.
        predictor: its queue never refuses for the time that items would wait, see
            ``Settings.queue_seconds``.
        output: is closed at the end of the run, or aborted.
        options: of the detection; ``keep_image`` is set if the output needs it.
        resume: whether items that have a result are skipped.
        limit: most items that are begun; None: all.
        ended: called with the numbers after each item, in the thread of ``run``.
    """

    def __init__(
        self,
        source: Input,
        predictor: Predictor,
        output: Output,
        options: Options,
        *,
        resume: bool = False,
        limit: int | None = None,
        ended: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._source, self._predictor, self._output = source, predictor, output
        self._options = replace(options, keep_image=options.keep_image or output.needs_image)
        self._limit = limit
        self._writer = ResultWriter(output, resume=resume, ended=ended)
        self._slots = threading.Semaphore(predictor.items_ahead)
        self._is_stopping = False
        self._begun: queue.SimpleQueue[_Begun | None] = queue.SimpleQueue()
        self._read_error: Exception | None = None

    @property
    def progress(self) -> Progress:
        """The numbers so far."""
        return self._writer.progress

    def run(self) -> Progress:
        """Process items until the input ends; returns their numbers.

        Raises:
            PipelineError: the input or the output failed.
            ServiceError: the predictor cannot compute: the model is broken.
            DarknetError: likewise, the engine failed.
        """
        reader = threading.Thread(target=self._read, name="input", daemon=True)
        reader.start()
        try:
            while (begun := self._next()) is not None:
                self._finish(*begun)
                self._slots.release()
                self._writer.flush_sometimes()
            self._output.close()
        except BaseException:
            self._abort(reader)
            raise
        finally:
            self._writer.release()
        if self._read_error:
            raise self._read_error
        return self.progress

    def stop(self) -> None:
        """Begin no more items and finish those that are begun; for signals, never waits."""
        self._is_stopping = True
        self._source.stop()

    def _read(self) -> None:
        """Take items, each when there is a slot for it, and submit their images."""
        try:
            items, left = iter(self._source), self._limit
            while self._may_begin(left) and (item := next(items, None)) is not None:
                self._writer.begin(item)
                future = self._begin(item)
                self._begun.put(_Begun(item, future))
                left = left if left is None or future is None else left - 1
        except Exception as error:
            self._read_error = error
        finally:
            self._source.stop()
            self._begun.put(None)

    def _may_begin(self, left: int | None) -> bool:
        """Wait for a slot; returns False if the run stops or ``limit`` is reached."""
        if left == 0:
            return False
        self._slots.acquire()
        return not self._is_stopping

    def _begin(self, item: Item) -> Future[Any] | None:
        if self._writer.has_result(item):
            return None
        try:
            return self._submit(item)
        except Exception as error:
            return failed(error)

    def _submit(self, item: Item) -> Future[Any]:
        began = time.monotonic()
        image = read(item)
        if self._output.needs_sha256 and isinstance(image, bytes):
            item.sha256 = hashlib.sha256(image).hexdigest()
        fetch_ms = (time.monotonic() - began) * 1000
        finish: Callable[[Answer], Any] = functools.partial(self._output.encode, item)
        return self._predictor.submit(
            image, self._options, finish=finish, name=item.name, fetch_ms=fetch_ms
        )

    def _next(self) -> _Begun | None:
        """Wait for the next item; flushes the output meanwhile."""
        while True:
            try:
                return self._begun.get(timeout=None if self._writer.is_flushed else FLUSH_SECONDS)
            except queue.Empty:
                self._writer.flush()

    def _finish(self, item: Item, future: Future[Any] | None) -> None:
        if future is None:
            self._writer.skip(item)
        else:
            self._writer.put(item, future)

    def _abort(self, reader: threading.Thread) -> None:
        self.stop()
        self._slots.release()
        reader.join(JOIN_SECONDS)
        self._output.abort()


def read(item: Item) -> Image:
    """Read the image of an item.

    Raises:
        ItemError: it cannot be read; the message says why.
        ServiceError: likewise.
    """
    try:
        return item.read()
    except OSError as error:
        raise ItemError(f"cannot be read: {error.strerror or error}") from error
