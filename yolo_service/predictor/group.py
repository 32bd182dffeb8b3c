"""Jobs that share one call of the network."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator

from darknet.detections import Detections
from darknet.model import RgbImage
from darknet.tiling import merge
from yolo_service import metrics
from yolo_service.images.decode import DecodedImage, DecodeOptions
from yolo_service.predictor.answer import Answer, Timings
from yolo_service.predictor.job import Job
from yolo_service.threads import set_result

DecodeImage = Callable[[bytes, DecodeOptions], DecodedImage | None]
"""Returns None for an image that is not plain."""


class Group:
    """Jobs of equal ``group_key``, at least one.

    Each image is decoded when the network asks for it, so that it is resized while it is still in
    the processor's cache, and a worker never holds two large ones. Of an image that is cut into
    tiles the network gets each view, and the detections in all of them are merged.

    Args:
        jobs: at least one.
        decode: decodes a plain image.
        set_aside: called with a job whose image is not plain; the group forgets it.
    """

    def __init__(
        self, jobs: Iterable[Job], decode: DecodeImage, set_aside: Callable[[Job], None]
    ) -> None:
        self._jobs, self._decode, self._set_aside = list(jobs), decode, set_aside
        self._decoded: list[_DecodedJob] = []
        self._decoding_seconds = 0.0

    def run(self) -> None:
        """Finish all jobs that are still wanted.

        Raises:
            Exception: the network failed, for all jobs.
        """
        wanted = [job for job in self._jobs if job.is_wanted()]
        if not wanted:
            return
        model, began = wanted[0].model, time.monotonic()
        with model.held():
            found, seconds = self._detect(wanted)
            for each, detections in found:
                each.job.request.context.run(each.deliver, detections, seconds * 1000)
            if views := sum(each.views for each in self._decoded):
                model.observe(views, time.monotonic() - began)

    def _detect(self, jobs: list[Job]) -> tuple[list[tuple[_DecodedJob, Detections]], float]:
        """Return the detections, and the seconds in the network without those of decoding."""
        model, thresholds = jobs[0].model, jobs[0].thresholds
        context = jobs[0].request.context.copy()
        began = time.monotonic()
        views = iter(context.run(model.detect, self._images(jobs), thresholds))
        found = [(each, list(itertools.islice(views, each.views))) for each in self._decoded]
        merged = [(each, each.merge(some)) for each, some in found if each.is_complete]
        seconds = time.monotonic() - began - self._decoding_seconds
        metrics.observe_inference(model.name, [one for _, one in merged], seconds)
        return merged, seconds

    def _images(self, jobs: list[Job]) -> Iterator[RgbImage]:
        for job in jobs:
            began = time.monotonic()
            decoded = job.request.context.run(self._decode_job, job)
            # Decoding takes time: by now the deadline may have passed, or the client disconnected.
            is_wanted = decoded and job.is_wanted()
            self._decoding_seconds += time.monotonic() - began
            if decoded and is_wanted:
                self._decoded.append(decoded)
                yield from decoded.take_views()

    def _decode_job(self, job: Job) -> _DecodedJob | None:
        began, data = time.monotonic(), job.image
        image = DecodedImage.of(data) if not isinstance(data, bytes) else None
        try:
            if isinstance(data, bytes) and not (image := self._decode(data, job.decode_options)):
                self._set_aside(job)
        except Exception as error:
            job.fail(error)
        if image is None:
            return None
        decode_seconds = job.decode_seconds + time.monotonic() - began
        queue_seconds = began - job.request.submitted - job.decode_seconds
        metrics.observe_image(job.encoded_bytes, queue_seconds, decode_seconds)
        return _DecodedJob(job, image, queue_seconds * 1000, decode_seconds * 1000)


class _DecodedJob:
    """A job whose image is or was in memory.

    Attributes:
        job: the job.
        views: how many views of the image the network has got so far.
    """

    def __init__(self, job: Job, image: DecodedImage, queue_ms: float, decode_ms: float) -> None:
        self.job, self._queue_ms, self._decode_ms = job, queue_ms, decode_ms
        self._pixels, self._size, self._scale = image.pixels, image.size, image.scale
        self._kept = image.pixels if job.keeps_image else None
        height, width = image.pixels.shape[:2]
        self._areas = job.areas((width, height))
        self.views = 0

    @property
    def is_complete(self) -> bool:
        """Whether the network has got all views."""
        return self.views == len(self._areas)

    def take_views(self) -> Iterator[RgbImage]:
        """Yield the views of the image while it is wanted; the caller can free it with the last.

        Many tiles take long, so before each it is looked whether somebody still waits for them.
        """
        *others, last = self._areas
        for area in others:
            self.views += 1
            yield area.view(self._pixels)
            if not self.job.is_wanted():
                return
        self.views += 1
        yield last.view(self._take_pixels())

    def merge(self, found: list[Detections]) -> Detections:
        """Return the detections in the image, given those in its views."""
        return merge(self._areas, found, self.job.thresholds.nms)

    def _take_pixels(self) -> RgbImage:
        """Return the pixels and drop the reference to them."""
        pixels = self._pixels
        del self._pixels
        return pixels

    def deliver(self, found: Detections, inference_ms: float) -> None:
        """Make the result and set it."""
        request = self.job.request
        timings = Timings(request.fetch_ms, self._decode_ms, self._queue_ms, inference_ms)
        try:
            kept = request.options.kept(found.scaled(*self._scale), self._size)
            with metrics.ENCODE_SECONDS.time():
                result = request.finish(self._answer(kept, timings))
        except Exception as error:
            self.job.fail(error)
        else:
            set_result(self.job.future, result)

    def _answer(self, found: Detections, timings: Timings) -> Answer:
        model, network = self.job.model.name, self.job.model.network
        engine = (network.engine_name, network.device, network.precision)
        name = self.job.request.name
        return Answer(model, *engine, *self._size, found, timings, name, self._kept)
