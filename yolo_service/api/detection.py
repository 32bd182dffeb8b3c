"""Detection for an HTTP request: submit its images to the predictor, and wait for the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from werkzeug.datastructures import FileStorage

from yolo_service.api import service
from yolo_service.api.client import current_client
from yolo_service.api.waiting import wait
from yolo_service.errors import BadRequest, ServiceError
from yolo_service.predictor import Answer, Image, Options
from yolo_service.predictor.filters import parse_classes, parse_region
from yolo_service.threads import submit_each

S = TypeVar("S")
T = TypeVar("T")

Finish = Callable[[Answer], T]
"""Makes the body of a response from an answer; runs on a worker."""


def detect_url(url: str, options: Options, finish: Finish[T]) -> T:
    """Download an image and detect in it; raises as ``Fetcher`` and ``detect_image`` do."""
    current = service.current()
    _load(options.model)  # an unknown model must not cost a download
    began = time.monotonic()
    data = current.fetch(url)
    fetch_ms = (time.monotonic() - began) * 1000
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return detect_image(data, options, finish, name, fetch_ms)


def detect_image(
    image: Image, options: Options, finish: Finish[T], name: str = "", fetch_ms: float = 0.0
) -> T:
    """Detect in one image; ``name`` and ``fetch_ms`` are those of the answer.

    Raises:
        ServiceError: see ``Predictor.submit``; DeadlineExceeded when the request's time is over.
    """
    return _wait(_submit(image, options, finish, name, fetch_ms))


def detect_each(
    items: Sequence[S],
    read: Callable[[S], Image],
    options: Options,
    finish: Finish[T],
    name: Callable[[S], str] = lambda _: "",
) -> list[T | ServiceError]:
    """Detect in several images, in order.

    ``read`` returns the image of an item, ``name`` its name, and ``finish`` makes its entry of the
    response. No more items are submitted at once than there are workers, so that a large request
    does not fill the queue.

    Returns:
        For each item its entry, or the error of its image (4xx).

    Raises:
        ServiceError: an error of the service (5xx), or the model is unknown.
    """
    current = service.current()
    _load(options.model)  # an unknown model is the request's fault, not each image's

    def submit(item: S) -> Future[T]:
        return _submit(read(item), options, finish, name(item))

    entries: list[T | ServiceError] = []
    for future in submit_each(items, submit, current.settings.workers):
        try:
            entries.append(_wait(future))
        except ServiceError as error:
            if error.status >= 500:
                raise
            entries.append(error)
    return entries


def read_options(values: Mapping[str, Any]) -> Options:
    """Return the options that a request's parameters or fields name.

    Raises:
        BadRequest: one of them is wrong.
    """
    readers: dict[str, Callable[[str], Any]] = {"classes": parse_classes, "region": parse_region}
    read = {name: readers[name](values[name]) for name in readers.keys() & values.keys()}
    return Options(**{**values, **read})


def upload(file: FileStorage) -> bytes:
    """Return the bytes of an uploaded file.

    Raises:
        BadRequest: there are none.
    """
    data: bytes = file.read()
    if not data:
        raise BadRequest("the file is empty; choose an image", name=file.name)
    return data


def _load(model: str | None) -> None:
    models = service.current().predictor.models
    if models.loaded(model) is None:
        _wait(models.load(model))


def _submit(
    image: Image, options: Options, finish: Finish[T], name: str, fetch_ms: float = 0.0
) -> Future[T]:
    client = current_client()
    return service.current().predictor.submit(
        image,
        options,
        finish=finish,
        name=name,
        fetch_ms=fetch_ms,
        deadline=client.deadline,
        is_wanted=client.is_connected,
    )


def _wait(future: Future[T]) -> T:
    return wait(future, current_client().deadline)
