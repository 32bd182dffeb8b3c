"""The way that every image takes: from a request, over a worker, to the bytes of an answer."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlsplit

import flask
from gevent.pool import Pool
from werkzeug.datastructures import FileStorage

from darknet.model import RgbImage, Thresholds
from yolo_service.api import service
from yolo_service.errors import BadRequest, ServiceError
from yolo_service.http.server import CONNECTED
from yolo_service.images.decode import DecodeOptions
from yolo_service.models.folder import ModelOptions
from yolo_service.models.loaded import LoadedModel
from yolo_service.predictor.answer import Answer, Timings
from yolo_service.predictor.jobs import KEEP_IMAGE, Image, Job, Outcome

S = TypeVar("S")
T = TypeVar("T")

Finish = Callable[[Answer, RgbImage], T]
"""Makes the answer out of what was found and the image; runs on a worker."""

MAX_IMAGES = 32
"""Most images of one request, as swagger.yaml says."""

PIECE_ROWS = 100
"""Elements of a list that are written at once; 1 ms at most."""

_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Options:
    """What a request may choose; None stands for the model's own value.

    Attributes:
        model: name of a model.
        threshold: smallest confidence, 0..1.
        nms: largest overlap of two boxes of a class, 0..1.
        hier_threshold: YOLO9000's, 0..1.
        usual_threshold: an interface's own, if neither the request nor model.yaml names one.
    """

    model: str | None = None
    threshold: float | None = None
    nms: float | None = None
    hier_threshold: float | None = None
    usual_threshold: float | None = None

    def thresholds(self, own: ModelOptions) -> Thresholds:
        """Fill what the request leaves out."""
        threshold = self.threshold
        if threshold is None and "threshold" not in own.model_fields_set:
            threshold = self.usual_threshold
        return own.thresholds(threshold, self.nms, self.hier_threshold)


def _no_name(_: object) -> str:
    return ""


class Detection(Generic[T]):
    """The work that one request asks for.

    Made by the greenlet that handles the request; its methods wait as greenlets.

    Args:
        options: of the request.
        finish: makes the answer for an image; runs on a worker.
        deadline: from ``Service.deadline``; None: begins now.
        keep_image: whether ``finish`` works with the image, which otherwise comes as is best for
            the network: with a fourth channel, reduced, or with rough colours.

    Raises:
        ModelNotFound: no such model.
        ModelUnavailable: its files are wrong, or the engine refuses them.
        DeadlineExceeded: loading it took too long.
    """

    def __init__(
        self,
        options: Options,
        finish: Finish[T],
        deadline: float | None = None,
        *,
        keep_image: bool = False,
    ) -> None:
        self._service = service.current()
        self._finish = finish
        self._connected = flask.request.environ[CONNECTED]
        self._deadline = self._service.deadline() if deadline is None else deadline
        self._model = self._service.model(options.model, self._deadline)
        self._thresholds = options.thresholds(self._model.options)
        decode = self._service.settings.decode
        self._quality = (
            KEEP_IMAGE if keep_image else DecodeOptions.for_network(self._model.network, decode)
        )

    def in_url(self, url: str) -> T:
        """Download an image and detect in it; raises as ``Service.fetch`` and ``in_image``."""
        before = time.monotonic()
        data = self._service.fetch(url, self._deadline)
        fetch_ms = (time.monotonic() - before) * 1000
        return self.in_image(data, unquote(urlsplit(url).path).rpartition("/")[2], fetch_ms)

    def in_image(self, image: Image, name: str = "", fetch_ms: float = 0.0) -> T:
        """Detect in one image.

        Args:
            image: encoded or not.
            name: what the client calls it.
            fetch_ms: milliseconds that its download took.

        Raises:
            ServiceError: the image cannot be read, the queue is full, or time is over.
        """
        finish = functools.partial(_finished, self._model, name, fetch_ms, self._finish)
        job = Job(
            self._model,
            image,
            self._thresholds,
            finish,
            deadline=self._deadline,
            connected=self._connected,
            quality=self._quality,
        )
        return self._service.scheduler.run(job)

    def in_each(
        self, items: Sequence[S], read: Callable[[S], Image], name: Callable[[S], str] = _no_name
    ) -> list[T | ServiceError]:
        """Detect in several images, in order; no more of them at once than there are workers.

        So a large request leaves the queue to others.

        Args:
            items: whatever ``read`` takes.
            read: gives the image of an item.
            name: gives what the client calls it.

        Returns:
            For each item its answer, or what is wrong with it.

        Raises:
            Exception: what went wrong here and not with an item; trying again may help.
        """

        def one(item: S) -> T | Exception:
            try:
                return self.in_image(read(item), name(item))
            except Exception as error:
                return error

        pool = Pool(self._service.settings.workers)
        tasks = [pool.spawn(one, item) for item in items]
        pool.join()
        return [_answer_or_fault(task.value) for task in tasks]


def upload(file: FileStorage) -> bytes:
    """Return the bytes of an uploaded file.

    Raises:
        BadRequest: there are none.
    """
    data: bytes = file.read()
    if not data:
        raise BadRequest("the file is empty; choose an image", name=file.name)
    return data


def to_json(value: Any, rows: int = 0) -> bytes:
    """Write an answer; on a worker, because thousands of detections take their time.

    Args:
        value: plain values.
        rows: how many detections are in it. Many are written in pieces, because nothing else runs,
            the loop included, while Python's encoder writes a value (70 ms for 10,000 objects).
    """
    pieces = _pieces(value) if rows > PIECE_ROWS else (_encode(value),)
    return "".join(pieces).encode() + b"\n"


def _pieces(value: Any) -> Iterator[str]:
    """Write a value like ``_encode``, but at most ``PIECE_ROWS`` elements of a list at once."""
    if isinstance(value, dict):
        members = ((f"{_encode(name)}: ", _pieces(item)) for name, item in value.items())
        yield from _joined("{}", members)
    elif isinstance(value, list) and len(value) > PIECE_ROWS:
        parts = (value[i : i + PIECE_ROWS] for i in range(0, len(value), PIECE_ROWS))
        yield from _joined("[]", (("", (_encode(part)[1:-1],)) for part in parts))
    elif isinstance(value, list):
        yield from _joined("[]", (("", _pieces(item)) for item in value))
    else:
        yield _encode(value)


def _joined(brackets: str, members: Iterable[tuple[str, Iterable[str]]]) -> Iterator[str]:
    comma = ""
    yield brackets[0]
    for name, pieces in members:
        yield comma + name
        yield from pieces
        comma = ", "
    yield brackets[1]


def _finished(
    model: LoadedModel, name: str, fetch_ms: float, finish: Finish[T], outcome: Outcome
) -> T:
    network = model.network
    width, height = outcome.size
    timings = Timings(fetch_ms, outcome.decode_ms, outcome.queue_ms, outcome.inference_ms)
    answer = Answer(
        model.name,
        network.engine_name,
        network.device,
        network.precision,
        width,
        height,
        outcome.detections,
        timings,
        name,
    )
    return finish(answer, outcome.pixels)


def _answer_or_fault(value: T | Exception) -> T | ServiceError:
    """Let pass what is wrong with an image; raise what the service itself could not do."""
    if isinstance(value, Exception) and not (
        isinstance(value, ServiceError) and value.status < 500
    ):
        raise value
    return value
