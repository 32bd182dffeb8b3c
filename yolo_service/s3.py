"""Objects in S3 and in stores of its protocol, by addresses such as ``s3://bucket/folder/file``.

Credentials, region and endpoint are those of every AWS program: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``, profiles, the roles of a container
or machine. Only this module imports boto3, the extra ``s3``, and only when an object is asked for.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from yolo_service.errors import StoreError

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up."""

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.*)")
_CHUNK = 1 << 18
_PASSING = frozenset({"408", "429", "RequestTimeout", "SlowDown", "Throttling", "InternalError"})
"""Codes of errors that a later request may not meet; so may those of status 5xx."""
_CHANGED = frozenset({"412", "416", "PreconditionFailed", "InvalidRange"})
_ADVICE = {
    "NoSuchBucket": "there is no such bucket",
    "NoSuchKey": "there is no such object",
    "404": "there is no such object or bucket",
    "AccessDenied": "these credentials may not read it",
    "403": "these credentials may not read it",
    "InvalidAccessKeyId": "the store does not know the key AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is wrong",
}


class Place(NamedTuple):
    """A bucket, and the key of an object in it or the beginning of keys."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Object:
    """An object that is being read.

    Attributes:
        start: position of the first byte of ``chunks``.
        total: length of the whole object in bytes.
        tag: its entity tag, which changes with its contents.
        chunks: the bytes; raises StoreError.
    """

    start: int
    total: int
    tag: str
    chunks: Iterator[bytes]


def is_s3(address: str) -> bool:
    """Return whether an address is one of S3."""
    return address.startswith("s3://")


def parse(address: str) -> Place:
    """Read ``s3://bucket/key``; the key may be empty.

    Raises:
        StoreError: it is something else.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise StoreError(f"{address}: expected s3://BUCKET/KEY")
    return Place(found[1], found[2])


def below(place: Place) -> Place:
    """Return the beginning of the keys of what is below a place, which may end with a ``/``."""
    return place._replace(key=place.key.rstrip("/") + "/" if place.key.strip("/") else "")


def client() -> Any:
    """Return boto3's S3 client, which threads may share; made at the first call.

    Raises:
        StoreError: boto3 is missing, or the AWS variables or files are wrong.
    """
    return _client(endpoint())


def endpoint() -> str | None:
    """Return the address of the store; None: Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def forget_client() -> None:
    """Have the next call of ``client`` read the AWS variables again."""
    _client.cache_clear()


@contextmanager
def open_object(place: Place, start: int = 0, tag: str = "") -> Iterator[Object]:
    """Read an object.

    Args:
        place: of the object.
        start: position of the first byte to read.
        tag: the entity tag that the object has to have, where ``start`` is not 0.

    Raises:
        StoreError: it cannot be read; ``is_changed`` if it does not have the tag or is shorter.
    """
    wanted = {"Bucket": place.bucket, "Key": place.key}
    if start:
        wanted |= {"Range": f"bytes={start}-", "IfMatch": tag}
    store = client()
    with explained(place):
        answer = store.get_object(**wanted)
    with answer["Body"] as body:
        total = start + int(answer["ContentLength"])
        yield Object(start, total, answer["ETag"], _chunks(place, body))


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn an error of boto3 in the block into one line that says what to do.

    Raises:
        StoreError: the block failed with an error of boto3 or of the network.
    """
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _refusal(place, error) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise StoreError(
            f"{place}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another "
            "source that AWS programs read"
        ) from error
    except _lost() as error:
        raise StoreError(f"{place}: no answer: {error}", may_pass=True) from error
    except (exceptions.BotoCoreError, ValueError) as error:
        raise StoreError(f"{place}: {error}") from error


def _lost() -> tuple[type[Exception], ...]:
    """Return the errors of a connection that failed or broke."""
    from botocore import exceptions as e
    from urllib3.exceptions import HTTPError

    return (e.ConnectionError, e.HTTPClientError, e.IncompleteReadError, HTTPError)


def _refusal(place: Place, error: Any) -> StoreError:
    code = str(error.response["Error"].get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    reason = (
        _ADVICE.get(code) or f"the store answered {code}: {error.response['Error'].get('Message')}"
    )
    return StoreError(
        f"{place}: {reason}",
        may_pass=code in _PASSING or status >= 500,
        is_changed=code in _CHANGED,
    )


def _chunks(place: Place, body: Any) -> Iterator[bytes]:
    while True:
        with explained(place):
            chunk = body.read(_CHUNK)
        if not chunk:
            return
        yield chunk


@functools.lru_cache(maxsize=4)
def _client(endpoint: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise StoreError(
            f"s3:// needs a package that is missing ({error}); pip install 'yolo-service[s3]'"
        ) from error
    config = Config(
        connect_timeout=TIMEOUT,
        read_timeout=TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": 1},  # callers try again, and resume
        # Other stores than Amazon's have no host names of buckets, and few have these checksums.
        s3={"addressing_style": "path"} if endpoint else {},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"the settings of AWS are wrong: {error}") from error
