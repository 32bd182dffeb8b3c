"""Listing, reading and writing many objects of S3, each again while the store does not answer."""

from __future__ import annotations

import functools
import logging
import mimetypes
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from yolo_service.errors import StoreError
from yolo_service.s3 import Place, client, explained

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE = 1000
"""Objects of one answer to a listing, which is the most that a store gives."""
PATIENCE_SECONDS = 60.0
"""How long a store may be gone."""
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0


class Listed(NamedTuple):
    """An object of a listing."""

    key: str
    size: int
    tag: str


def list_objects(below: Place) -> Iterator[Listed]:
    """Yield the objects whose keys begin with a key; each page is asked for when it is needed.

    Raises:
        StoreError: the store refuses, or does not answer.
    """
    after: dict[str, str] = {}
    while True:
        page = again(functools.partial(_page, below, after))
        for each in page.get("Contents", ()):
            yield Listed(each["Key"], each["Size"], each["ETag"])
        if not page.get("IsTruncated"):
            return
        after = {"ContinuationToken": page["NextContinuationToken"]}


def _page(below: Place, after: dict[str, str]) -> dict[str, Any]:
    with explained(below):
        return dict(
            client().list_objects_v2(Bucket=below.bucket, Prefix=below.key, MaxKeys=PAGE, **after)
        )


def read(place: Place) -> bytes:
    """Return the bytes of an object.

    Raises:
        StoreError: it cannot be read.
    """

    def read() -> bytes:
        with explained(place), client().get_object(Bucket=place.bucket, Key=place.key)["Body"] as b:
            return bytes(b.read())

    return again(read)


def write(place: Place, data: bytes) -> None:
    """Write an object; others see all of it or nothing.

    Raises:
        StoreError: it cannot be written.
    """
    kind = mimetypes.guess_type(place.key)[0] or "application/octet-stream"

    def write() -> None:
        with explained(place):
            client().put_object(Bucket=place.bucket, Key=place.key, Body=data, ContentType=kind)

    again(write)


def delete(place: Place) -> None:
    """Delete an object, which may be gone already.

    Raises:
        StoreError: the store refuses, or does not answer.
    """

    def delete() -> None:
        with explained(place):
            client().delete_object(Bucket=place.bucket, Key=place.key)

    again(delete)


def written_at(place: Place) -> datetime | None:
    """Return when an object was written; None if there is none.

    Raises:
        StoreError: the store refuses, or does not answer.
    """

    def look() -> datetime | None:
        with explained(place):
            found: datetime = client().head_object(Bucket=place.bucket, Key=place.key)[
                "LastModified"
            ]
            return found

    try:
        return again(look)
    except StoreError as error:
        if is_missing(error):
            return None
        raise


def is_missing(error: StoreError) -> bool:
    """Return whether an object, not the store, is the fault: it is gone, or archived."""
    answer = getattr(error.__cause__, "response", {}).get("Error", {})
    return answer.get("Code") in ("404", "NoSuchKey", "InvalidObjectState")


def again(function: Callable[[], T], patience: float = PATIENCE_SECONDS) -> T:
    """Call a function until it succeeds, the store refuses, or it is gone for too long.

    Raises:
        StoreError: the last one.
    """
    until, wait = time.monotonic() + patience, _FIRST_WAIT
    while True:
        try:
            return function()
        except StoreError as error:
            if not error.may_pass or time.monotonic() + wait > until:
                raise
            log.warning("%s; trying again", error)
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)
