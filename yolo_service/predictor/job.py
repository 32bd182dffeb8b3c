"""An image in the predictor: the options, the request and the job."""

from __future__ import annotations

import contextvars
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from darknet.detections import Detections
from darknet.errors import ImageError
from darknet.model import RgbImage, Thresholds
from darknet.tiling import Area, Tiling
from yolo_service.errors import BadRequest, ClientGone, DeadlineExceeded, ServiceError
from yolo_service.images.decode import DecodeOptions, Size, size_of
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
        tiles: how the image is cut for small objects, such as ``2x2`` or ``auto``, see
            ``darknet.tiling.Tiling.parse``; None: it is not.

    Raises:
        BadRequest: a number outside 0..1, or ``tiles`` that cannot be read.
    """

    model: str | None = None
    threshold: float | None = None
    nms: float | None = None
    hier_threshold: float | None = None
    default_threshold: float | None = None
    classes: tuple[str, ...] = ()
    region: Region | None = None
    keep_image: bool = False
    tiles: str | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "nms", "hier_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise BadRequest(f"expected a number from 0 to 1, found {value}", name=name)
        try:
            _ = self.tiling
        except ImageError as error:
            raise BadRequest(str(error), name="tiles") from error

    @property
    def tiling(self) -> Tiling | None:
        """How the image is cut into tiles; None: it is not."""
        return Tiling.parse(self.tiles) if self.tiles else None

    def too_many_tiles(self, most: int) -> BadRequest | None:
        """Return the error of more tiles than ``most``; ``auto`` makes as many as are allowed."""
        tiling = self.tiling
        found = tiling.columns * tiling.rows if tiling else 0
        if found <= most:
            return None
        text = f"expected at most {most} tiles, found {found}; ask for fewer, or set YOLO_MAX_TILES"
        return BadRequest(text, name="tiles")

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

    Args:
        image: see ``Image``.
        request: the arguments of ``submit``.
        future: gets the result.
        model: computes it.
        decode: see ``Settings.decode``.
        max_tiles: most tiles that ``auto`` makes of the image.

    Attributes:
        encoded_bytes: of the image; None if it was submitted decoded.
        decode_seconds: what decoding outside of the workers took.
        expected_seconds: what the image will take a worker; 0 before the model's first image.
        is_heavy: whether the image stays in memory for long, because it is drawn on or is cut into
            tiles. A heavy one is computed alone, and never by all workers at once.
    """

    def __init__(
        self,
        image: Image,
        request: Request,
        future: Future[Any],
        model: LoadedModel,
        *,
        decode: Decode | None,
        max_tiles: int,
    ) -> None:
        self.request, self.future, self.model = request, future, model
        self.thresholds = request.options.thresholds(model.options)
        self._tiling, self._max_tiles = request.options.tiling, max_tiles
        self.is_heavy = self.keeps_image or self._tiling is not None
        self.decode_options = DecodeOptions()
        if not self.keeps_image:
            self.decode_options = DecodeOptions.for_network(model.network, decode)
        if self._tiling:  # the tiles need the pixels that the network as a whole does not see
            self.decode_options = replace(self.decode_options, min_size=None)
        self.encoded_bytes = len(image) if isinstance(image, bytes) else None
        self.decode_seconds = 0.0
        measured = model.seconds_per_image * self._views(image)
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

        A heavy one shares it with none, because its image stays in memory; others are freed as soon
        as they are resized.
        """
        own = id(self) if self.is_heavy else None
        return id(self.model), self.thresholds, own

    def areas(self, size: Size) -> tuple[Area, ...]:
        """Return the parts of an image of (width, height) that the network computes."""
        if self._tiling is None:
            return (Area(0, 0, *size),)
        return self._tiling.areas(size, self.model.network.input_size, self._max_tiles)

    def _views(self, image: Image) -> int:
        """Return how many parts of an image will be computed; 1 for one that cannot be decoded."""
        if self._tiling is None:
            return 1
        try:
            return len(self.areas(size_of(image)))
        except ServiceError:
            return 1

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
