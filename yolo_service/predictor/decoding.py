"""Decoding of images that are not plain, outside of the workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from darknet.limits import available_cpus
from yolo_service.images.decode import ImageDecoder
from yolo_service.predictor.job import Job
from yolo_service.threads import DaemonExecutor


class ByteLimit:
    """Lets threads wait until what they need fits into a limit; first come, first served.

    Args:
        limit: bytes. A call for more waits until nothing is held.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._turn, self._changed = threading.Lock(), threading.Condition()

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may be held."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + count <= self._limit)
            self._held += count

    def give_back(self, count: int) -> None:
        """End the hold of ``count`` bytes."""
        with self._changed:
            self._held -= count
            self._changed.notify()


class IsolatedDecoding:
    """Decodes images in processes of their own, as many at once as there are CPUs.

    The pixels of all images that it has decoded and that are not computed yet, and of those that
    it decodes, have a common limit: without it, a few small files fill the memory while the
    workers are busy.

    Args:
        decoder: decodes an image in a process.
        max_bytes: of all pixels.
        max_waiting: most images that wait to be decoded.
        queue: called with a job when its image is decoded.
    """

    def __init__(
        self,
        decoder: ImageDecoder,
        *,
        max_bytes: int,
        max_waiting: int,
        queue: Callable[[Job], None],
    ) -> None:
        self._decoder, self._queue = decoder, queue
        self._pixels = ByteLimit(max_bytes)
        self._executor = DaemonExecutor("decoder", available_cpus(), max_waiting=max_waiting)

    def submit(self, job: Job) -> None:
        """Decode the image of a job and queue the job again; never waits.

        Raises:
            Overloaded: too many images wait already.
        """
        self._executor.submit(self._decode, job)

    def _decode(self, job: Job) -> None:
        data = job.image
        if not (job.is_wanted() and isinstance(data, bytes)):
            return
        count = self._decoder.decoded_bytes(data)
        self._pixels.take(count)
        try:
            if job.is_wanted():
                self._queue_decoded(job, data)
        finally:
            job.future.add_done_callback(lambda _: self._pixels.give_back(count))

    def _queue_decoded(self, job: Job, data: bytes) -> None:
        began = time.monotonic()
        try:
            pixels = self._decoder.decode_isolated(data).pixels
        except Exception as error:
            job.fail(error)
        else:
            job.replace_image(pixels, time.monotonic() - began)
            self._queue(job)
