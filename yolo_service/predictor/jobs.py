"""An image on its way through a network, and those that make the way together.

Job and batch are handed from the loop to a worker and back; who takes which is the scheduler's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import gevent
import numpy as np
from gevent.event import AsyncResult

from darknet.detections import Detections
from darknet.model import RgbImage, Thresholds
from yolo_service import metrics
from yolo_service.errors import ClientGone, DeadlineExceeded
from yolo_service.images.decode import DecodedImage, DecodeOptions, Size
from yolo_service.predictor.timed import Timed

T = TypeVar("T")

DecodeImage = Callable[[bytes, DecodeOptions], DecodedImage]

SEEN_SECONDS = 0.05
"""For how long a client that was there counts as there: asking takes a system call, and hands the
interpreter over."""

KEEP_IMAGE = DecodeOptions()
"""How an image is decoded that people or other programs look at."""

Image = bytes | RgbImage
"""An image as a file of a known format, or decoded: uint8[height, width, 3], red first."""


class Detector(Protocol):
    """What a worker asks of a model; ``detect`` may be called from several threads at once."""

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Find objects in images of any size, one ``Detections`` each, in order."""
        ...


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a worker found, and the time it took.

    Attributes:
        pixels: the decoded image; nothing, uint8[0, 0, 3], without ``keep_image``.
        size: of the file's image, upright.
        detections: what the network found in it, in pixels of ``size``.
        queue_ms: milliseconds between ``submit`` and a worker's attention.
        decode_ms: milliseconds from bytes to image.
        inference_ms: milliseconds in the network, of the whole batch.
    """

    pixels: RgbImage
    size: Size
    detections: Detections
    queue_ms: float
    decode_ms: float
    inference_ms: float


def _always() -> bool:
    return True


class Job(Generic[T]):
    """One image on its way through a network.

    Args:
        model: finds the objects.
        data: the image, encoded or not.
        thresholds: of this request.
        finish: makes the answer out of the outcome; runs on the worker.
        deadline: ``time.monotonic()`` after which nobody waits any more.
        connected: says whether the client is still there; called on the worker.
        quality: how the image has to be decoded.
    """

    def __init__(
        self,
        model: Detector,
        data: Image,
        thresholds: Thresholds,
        finish: Callable[[Outcome], T],
        *,
        deadline: float,
        connected: Callable[[], bool] = _always,
        quality: DecodeOptions = KEEP_IMAGE,
    ) -> None:
        self.model, self.data, self.thresholds, self.finish = model, data, thresholds, finish
        self.quality = quality
        self.deadline = deadline
        self.submitted = time.monotonic()
        self._connected, self._seen_until = connected, 0.0
        self._abandoned = False
        self._answer: AsyncResult = AsyncResult()
        self._loop = gevent.get_hub().loop

    @property
    def batch_key(self) -> tuple[int, Thresholds, int | None]:
        """Jobs with equal keys can share a call of the network.

        An image that is shown shares it with none, because it stays in memory until its answer is
        made; others are let go as soon as the network has them.
        """
        return id(self.model), self.thresholds, id(self) if self.quality.keep_image else None

    def wait(self) -> T:
        """Wait as a greenlet for the answer, not longer than the deadline.

        Raises:
            DeadlineExceeded: the time is over; the job will cost nothing any more.
            Exception: whatever the worker met.
        """
        try:
            answer: T = self._answer.get(timeout=max(0.0, self.deadline - time.monotonic()))
        except gevent.Timeout:
            raise _late() from None
        finally:
            self._abandoned = True
            self.data = b""  # the job itself may wait in the queue for long
        return answer

    def succeed(self, answer: T) -> None:
        """Hand the answer over, from any thread."""
        self._loop.run_callback_threadsafe(self._answer.set, answer)

    def fail(self, error: Exception) -> None:
        """Hand an error over, from any thread."""
        self._loop.run_callback_threadsafe(self._answer.set_exception, error)

    def is_worth_it(self) -> bool:
        """Say whether somebody still waits; tell the others why they get nothing."""
        now = time.monotonic()
        if self._abandoned:
            return False
        if now >= self.deadline:
            self.fail(_late())
            return False
        if now > self._seen_until:
            if not self._connected():
                self.fail(ClientGone())
                return False
            self._seen_until = now + SEEN_SECONDS
        return True


class Batch:
    """Jobs that share a call of the network.

    Each image is decoded when the network asks for it, so that it is resized while it is still
    in the processor's cache, and a worker never holds two large ones.

    Args:
        jobs: of equal ``batch_key``.
        decode: makes an image out of bytes, given the job's ``quality``.
    """

    def __init__(self, jobs: Iterable[Job[Any]], decode: DecodeImage) -> None:
        self._jobs, self._decode = [job for job in jobs if job.is_worth_it()], decode
        self._decoded: list[_Decoded] = []

    def run(self) -> None:
        """Answer all of them.

        Raises:
            Exception: what the network met, which is for all jobs.
        """
        if not self._jobs:
            return
        model, thresholds = self._jobs[0].model, self._jobs[0].thresholds
        before, pictures = time.monotonic(), Timed(self._images())
        found = model.detect(pictures, thresholds)
        inference_ms = _ms_since(before) - pictures.seconds * 1000
        for each, detections in zip(self._decoded, found, strict=True):
            each.deliver(detections, inference_ms)

    def _images(self) -> Iterator[RgbImage]:
        for job in self._jobs:
            decoded = self._decode_one(job)
            # Decoding takes time: who is late now shall not cost inference.
            if decoded and job.is_worth_it():
                self._decoded.append(decoded)
                yield decoded.hand_over()

    def _decode_one(self, job: Job[Any]) -> _Decoded | None:
        before, data = time.monotonic(), job.data
        try:
            image = (
                self._decode(data, job.quality)
                if isinstance(data, bytes)
                else DecodedImage.of(data)
            )
        except Exception as error:
            job.fail(error)
            return None
        queue_ms, decode_ms = (before - job.submitted) * 1000, _ms_since(before)
        metrics.observe_image(data, queue_ms / 1000, decode_ms / 1000)
        return _Decoded(job, image, queue_ms, decode_ms)


_NO_PIXELS: RgbImage = np.empty((0, 0, 3), np.uint8)


class _Decoded:
    """A job whose image is or was in memory."""

    def __init__(
        self, job: Job[Any], image: DecodedImage, queue_ms: float, decode_ms: float
    ) -> None:
        self._job, self._queue_ms, self._decode_ms = job, queue_ms, decode_ms
        self._pixels, self._size, self._scale = image.pixels, image.size, image.scale

    def hand_over(self) -> RgbImage:
        """Return the image, which is kept only if the answer shows it."""
        pixels = self._pixels
        if not self._job.quality.keep_image:
            self._pixels = _NO_PIXELS
        return pixels

    def deliver(self, found: Detections, inference_ms: float) -> None:
        """Make the answer and hand it over."""
        found = found.scaled(*self._scale)
        times = (self._queue_ms, self._decode_ms, inference_ms)
        try:
            with metrics.ENCODE_SECONDS.time():
                answer = self._job.finish(Outcome(self._pixels, self._size, found, *times))
            self._job.succeed(answer)
        except Exception as error:
            self._job.fail(error)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the request could not be served within YOLO_REQUEST_TIMEOUT")


def _ms_since(start: float) -> float:
    return (time.monotonic() - start) * 1000
