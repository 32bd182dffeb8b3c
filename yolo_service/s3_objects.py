"""Listing, reading and writing many objects of S3, each again while the store does not answer."""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import mimetypes
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from yolo_service.errors import ItemError, StoreError
from yolo_service.s3 import Place, client, explained, open_object

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


def read(place: Place, max_bytes: int | None = None) -> bytes:
    """Return the bytes of an object.

    Raises:
        StoreError: it cannot be read.
        ItemError: it has more than ``max_bytes``; nothing of it is read.
    """

    def read() -> bytes:
        with explained(place):
            found = client().get_object(Bucket=place.bucket, Key=place.key)
        with found["Body"] as body, explained(place):
            if max_bytes is None or found["ContentLength"] <= max_bytes:
                return bytes(body.read())
        length = found["ContentLength"]
        raise ItemError(f"has {length} bytes, more than {max_bytes}; set YOLO_MAX_UPLOAD_MB")

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


def write_file(place: Place, path: Path) -> None:
    """Write a file as an object, a large one in parts; others see all of it or nothing.

    Raises:
        StoreError: it cannot be written.
        OSError: the file cannot be read.
    """
    kind = mimetypes.guess_type(place.key)[0] or "application/octet-stream"

    def write() -> None:
        with explained(place), path.open("rb") as file:
            client().upload_fileobj(file, place.bucket, place.key, ExtraArgs={"ContentType": kind})

    again(write)


def read_file(place: Place, path: Path) -> None:
    """Read an object into a file.

    Raises:
        StoreError: it cannot be read.
        OSError: the file cannot be written.
    """

    def read() -> None:
        with open_object(place) as found, path.open("wb") as file:
            for chunk in found.chunks:
                file.write(chunk)

    again(read)


def move(place: Place, target: Place) -> None:
    """Copy an object, of any size, within the store, and delete it then.

    One that was copied already is deleted only: an earlier run was killed in between. A target
    that is another object is kept, and the object gets a name with a number, ``cat-2.jpg``.

    Raises:
        StoreError: the store refuses, or does not answer.
    """
    source = {"Bucket": place.bucket, "Key": place.key}
    target, found = next(
        (each, found)
        for each in _numbered(target)
        if (found := _head(each)) is None or _are_same(place, each, found)
    )

    def copy() -> None:
        with explained(target):
            client().copy(source, target.bucket, target.key)

    if found is None:
        again(copy)
    delete(place)


def _numbered(place: Place) -> Iterator[Place]:
    """Yield a place, and then those with a number in their names."""
    yield place
    stem, dot, suffix = place.key.rpartition(".")
    for n in itertools.count(2):
        yield place._replace(key=f"{stem}-{n}{dot}{suffix}")


def _are_same(place: Place, other: Place, found: Mapping[str, Any]) -> bool:
    """Return whether an object has the same contents as another one, of which this was found.

    They are read where their tags differ: that of one that was copied in parts is no hash.
    """
    original = _head(place)
    if original is None or original["ContentLength"] != found["ContentLength"]:
        return False
    return bool(original["ETag"] == found["ETag"]) or _sha256(place) == _sha256(other)


def _sha256(place: Place) -> bytes:
    def read() -> bytes:
        digest = hashlib.sha256()
        with open_object(place) as found:
            for chunk in found.chunks:
                digest.update(chunk)
        return digest.digest()

    return again(read)


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
    found = _head(place)
    return found["LastModified"] if found else None


def _head(place: Place) -> dict[str, Any] | None:
    """Return what the store knows of an object; None if there is none."""

    def look() -> dict[str, Any]:
        with explained(place):
            return dict(client().head_object(Bucket=place.bucket, Key=place.key))

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
