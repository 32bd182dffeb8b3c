"""Images and videos at http and https addresses.

The addresses are those of the user, not of a client: private networks are allowed.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from yolo_service.errors import ItemError
from yolo_service.inputs.item import Input, Item
from yolo_service.inputs.options import InputOptions
from yolo_service.predictor.job import Image
from yolo_service.videos.content import HEAD_BYTES, is_video

_PIECE = 1 << 16


def open_input(address: str, options: InputOptions) -> Input:
    """Open one address."""
    return Url(address, options)


@dataclass(eq=False)
class UrlItem(Item):
    """An image or a video at an address."""

    options: InputOptions = field(default_factory=InputOptions)
    _found: bytes | Path | ItemError = b""

    @classmethod
    def of(cls, address: str, options: InputOptions) -> UrlItem:
        """Make the item of an address; its name is host, path and query."""
        parts = urlsplit(address)
        segments = [unquote(part) for part in parts.path.split("/")]
        names = [parts.netloc.rpartition("@")[2], *segments]
        if parts.query:
            names[-1] += f"?{parts.query}"
        usual = (quote(name, safe=" @:,;=+&?!()[]'") for name in names if name.strip("."))
        return cls("/".join(usual) or "image", address, options=options)

    @property
    def address(self) -> str | None:
        """The address."""
        return self.origin

    def read(self) -> Image:
        """Return the image, downloaded now or by ``video_file``.

        Raises:
            ItemError: the address does not answer, or with something else.
        """
        found = self._found or self._fetch()
        self._found = b""
        if isinstance(found, Path):
            found.unlink()
            raise ItemError("is a video; expected an image")
        if isinstance(found, ItemError):
            raise found
        return found

    def video_file(self) -> Path | None:
        """Download what is there; return a temporary file with it if it is a video."""
        try:
            self._found = self._fetch()
        except ItemError as error:
            self._found = error  # for read()
        return self._found if isinstance(self._found, Path) else None

    def computed(self) -> None:
        """Forget the bytes, which nobody has read if there was a result."""
        if isinstance(self._found, bytes):
            self._found = b""

    def done(self) -> None:
        """Remove the temporary file."""
        self._remove()

    def failed(self, error: Exception) -> None:  # noqa: ARG002 - the protocol's
        """Remove the temporary file."""
        self._remove()

    def release(self) -> None:
        """Remove the temporary file."""
        self._remove()

    def _remove(self) -> None:
        if isinstance(self._found, Path):
            self._found.unlink(missing_ok=True)

    def _fetch(self) -> bytes | Path:
        try:
            return self._download()
        except urllib.error.HTTPError as error:
            raise ItemError(f"answered {error.code} {error.reason}, expected 200") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ItemError(f"could not be fetched: {reason}; check the URL") from error

    def _download(self) -> bytes | Path:
        version = importlib.metadata.version("yolo-service")
        headers = {"User-Agent": f"yolo-service/{version}", "Accept": "image/*, video/*, */*;q=0.5"}
        request = urllib.request.Request(self.origin, headers=headers)  # noqa: S310 - http only
        with urllib.request.urlopen(request, timeout=self.options.timeout) as answer:  # noqa: S310
            head = bytearray()
            while len(head) < HEAD_BYTES and (piece := answer.read1(_PIECE)):
                head += piece
            if is_video(bytes(head), urlsplit(self.origin).path):
                return _save(head, answer)
            return self._rest_of_image(head, answer)

    def _rest_of_image(self, body: bytearray, answer: http.client.HTTPResponse) -> bytes:
        limit, until = self.options.max_bytes, time.monotonic() + self.options.timeout
        piece = b""
        while True:
            body += piece
            if len(body) > limit:
                raise ItemError(f"has more than {limit} bytes; set YOLO_MAX_UPLOAD_MB")
            if time.monotonic() > until:
                raise ItemError(
                    f"did not arrive within {self.options.timeout:g} s; set YOLO_URL_TIMEOUT"
                )
            if not (piece := answer.read1(_PIECE)):
                break
        _check_complete(answer, len(body))
        return bytes(body)


def _save(head: bytearray, answer: http.client.HTTPResponse) -> Path:
    """Write a video to a temporary file: it may be larger than the memory, or have its index last.

    It may take as long as it likes, as long as it does not pause.
    """
    descriptor, name = tempfile.mkstemp(prefix="yolo-service-", suffix=".video")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(head)
            shutil.copyfileobj(answer, file, 1 << 20)
            _check_complete(answer, file.tell())
    except BaseException:
        path.unlink()
        raise
    return path


def _check_complete(answer: http.client.HTTPResponse, count: int) -> None:
    if answer.length:
        raise ItemError(f"broke off after {count} bytes; try again")


class Url:
    """An ``Input``: one image or video at an address."""

    def __init__(self, address: str, options: InputOptions) -> None:
        self._item = UrlItem.of(address, options)
        self._is_stopped = False

    def __iter__(self) -> Iterator[Item]:
        if not self._is_stopped:
            yield self._item

    def count(self) -> int | None:
        """Return 1."""
        return 1

    def stop(self) -> None:
        """Yield nothing."""
        self._is_stopped = True

    def close(self) -> None:
        """Do nothing: each download has a connection of its own."""
