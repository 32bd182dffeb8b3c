"""An image in the predictor: the options, the request and the job."""

from __future__ import annotations

import contextvars
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from darknet.detections import Detections
from darknet.model import RgbImage, Thresholds
from yolo_service.errors import BadRequest, ClientGone, DeadlineExceeded, ServiceError
from yolo_service.images.decode import DecodeOptions
from yolo_service.models.folder import ModelOptions
from yolo_service.models.loaded import LoadedModel
from yolo_service.predictor.answer import Answer
from yolo_service.predictor.filters import Region, keep
from yolo_service.settings import Decode
from yolo_service.threads import set_exception

Image = bytes | RgbImage
"""An image as a file of a known format, or decoded: uint8[height, width, 3], red first."""

WANTED_SECONDS = 0.05
"""How long the result of ``Request.is_wanted`` is reused: it may take a system call."""


@dataclass(frozen=True)
class Options:
    """Options of the detection in an image; None stands for the model's own value.

    Attributes:
        model: name of a model; None: the default one.
        threshold: smallest confidence, 0..1.
        nms: largest overlap (IoU) of two boxes of a class, 0..1.
        hier_threshold: smallest probability of a node of YOLO9000's tree, 0..1.
        default_threshold: smallest confidence if neither ``threshold`` nor model.yaml has one.
        classes: names or numbers of the classes that are kept; empty: all.
        region: detections are kept whose centre is in it; None: all.
        keep_image: whether ``Answer.image`` is needed; without it decoding may be rougher.

    Raises:
        BadRequest: a number outside 0..1.
    """

    model: str | None = None
    threshold: float | None = None
    nms: float | None = None
    hier_threshold: float | None = None
    default_threshold: float | None = None
    classes: tuple[str, ...] = ()
    region: Region | None = None
    keep_image: bool = False

    def __post_init__(self) -> None:
        for name in ("threshold", "nms", "hier_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise BadRequest(f"expected a number from 0 to 1, found {value}", name=name)

    def kept(self, found: Detections, size: tuple[int, int]) -> Detections:
        """Return the detections that are wanted, of an image of this width and height.

        Raises:
            BadRequest: the model has no such class.
        """
        return keep(found, size, self.classes, self.region)

    def thresholds(self, own: ModelOptions) -> Thresholds:
        """Return the thresholds, with a model's own values for those that are None."""
        threshold = self.threshold
        if threshold is None and "threshold" not in own.model_fields_set:
            threshold = self.default_threshold
        return own.thresholds(threshold, self.nms, self.hier_threshold)


@dataclass(frozen=True, eq=False)
class Request:
    """The arguments of ``Predictor.submit`` for an image.

    Attributes:
        options: of the detection.
        finish: makes the result from the answer; runs on a worker.
        name: of the image, for ``Answer.name``.
        fetch_ms: milliseconds that it took to get the image.
        deadline: ``time.monotonic()`` after which it fails with DeadlineExceeded; None: never.
        is_wanted: returns False to drop the image; called on workers, at most every
            ``WANTED_SECONDS``.
        submitted: ``time.monotonic()`` of ``submit``.
        context: the submitter's context variables, for log lines.
    """

    options: Options
    finish: Callable[[Answer], Any]
    name: str = ""
    fetch_ms: float = 0.0
    deadline: float | None = None
    is_wanted: Callable[[], bool] = lambda: True
    submitted: float = field(default_factory=time.monotonic)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Job:
    """An image with its model, in the queue or on a worker.

    The caller has acquired the model; it is released when the future is done or cancelled.

    Attributes:
        encoded_bytes: of the image; None if it was submitted decoded.
        decode_seconds: what decoding outside of the workers took.
        expected_seconds: what the image will take a worker; 0 before the model's first image.
    """

    def __init__(
        self,
        image: Image,
        request: Request,
        future: Future[Any],
        model: LoadedModel,
        decode: Decode | None,
    ) -> None:
        self.request, self.future, self.model = request, future, model
        self.thresholds = request.options.thresholds(model.options)
        self.decode_options = DecodeOptions()
        if not request.options.keep_image:
            self.decode_options = DecodeOptions.for_network(model.network, decode)
        self.encoded_bytes = len(image) if isinstance(image, bytes) else None
        self.decode_seconds = 0.0
        measured = model.seconds_per_image
        self.expected_seconds = measured if math.isfinite(measured) else 0.0
        self._wanted_until = 0.0
        self._held = _Held(image, model)
        # Not a method of the job: job and future would refer to each other, and every image would
        # stay in memory until the next garbage collection.
        future.add_done_callback(self._held.release)

    @property
    def image(self) -> Image:
        """The image; empty when the future is done."""
        return self._held.image

    def replace_image(self, pixels: RgbImage, seconds: float) -> None:
        """Set the pixels that an encoded image was decoded to."""
        self._held.image, self.decode_seconds = pixels, seconds

    @property
    def keeps_image(self) -> bool:
        """Whether the image stays in memory until the result is made."""
        return self.request.options.keep_image

    @property
    def group_key(self) -> tuple[int, Thresholds, int | None]:
        """Jobs with equal keys can share a call of the network.

        One that keeps its image shares it with none, because the image stays in memory until the
        result is made; others are freed as soon as they are resized.
        """
        own = id(self) if self.keeps_image else None
        return id(self.model), self.thresholds, own

    def fail(self, error: BaseException) -> None:
        """Set the exception, unless the future is done or was cancelled."""
        if isinstance(error, ServiceError):
            error.drop_traceback()
        set_exception(self.future, error)

    def is_wanted(self) -> bool:
        """Return whether the result is still needed; fails the future if not."""
        now, deadline = time.monotonic(), self.request.deadline
        if self.future.done():
            return False
        if deadline is not None and now >= deadline:
            self.fail(DeadlineExceeded())
            return False
        if now > self._wanted_until:
            if not self.request.is_wanted():
                self.fail(ClientGone())
                return False
            self._wanted_until = now + WANTED_SECONDS
        return True


class _Held:
    """The image and the hold on the model of a job, until its future is done."""

    def __init__(self, image: Image, model: LoadedModel) -> None:
        self.image: Image = image
        self._model = model

    def release(self, _: Future[Any]) -> None:
        self.image = b""  # a cancelled job may stay in the queue for long
        self._model.release()
